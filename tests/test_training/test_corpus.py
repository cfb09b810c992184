import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from moe_zoo.training.text import corpus
from moe_zoo.training.text.corpus import Corpus, Document, read_corpus

PARTS = ("train", "validation", "test")


def characters(documents):
    return sum(len(document.text) for document in documents)


def write_files(folder, count, lines=40):
    for i in range(count):
        path = folder / f"{i % 3}" / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"file {i} line {j}\n" for j in range(lines)), encoding="utf-8")


@pytest.fixture(scope="module")
def library():
    return read_corpus()


class TestLibrary:
    def test_is_large(self, library):
        total = sum(characters(getattr(library, part)) for part in PARTS)
        assert 9_000_000 < total < 15_000_000

    def test_parts_have_their_shares(self, library):
        sizes = [characters(getattr(library, part)) for part in PARTS]
        assert [size / sum(sizes) for size in sizes] == pytest.approx([0.9, 0.05, 0.05], abs=0.02)

    def test_no_file_is_in_two_parts(self, library):
        names = [document.name for part in PARTS for document in getattr(library, part)]
        assert len(names) == len(set(names))
        assert {"os.py", "json/decoder.py", "pydoc_data/topics.py"} <= set(names)

    def test_leaves_out_tests_and_installed_packages(self, library):
        folders = {
            folder
            for part in PARTS
            for document in getattr(library, part)
            for folder in document.name.split("/")[:-1]
        }
        assert not folders & {"test", "tests", "idle_test", "site-packages", "dist-packages"}
        assert not any(folder.startswith("config-") for folder in folders)

    def test_documents_are_the_files(self, library):
        texts = {d.name: d.text for part in PARTS for d in getattr(library, part)}
        for module in (os, subprocess):
            with open(module.__file__, encoding="utf-8") as file:
                assert texts[os.path.basename(module.__file__)] == file.read()

    def test_is_read_not_imported(self):
        program = """if True:
            import sys, sysconfig
            from moe_zoo.training.text.corpus import read_corpus
            sysconfig.get_path("stdlib")
            before = set(sys.modules)
            read_corpus()
            print([name for name in set(sys.modules) - before if "encodings" not in name])
        """
        run = [sys.executable, "-c", program]
        assert subprocess.run(run, capture_output=True, check=True).stdout.split() == [b"[]"]

    def test_is_the_same_again(self, library):
        assert read_corpus() == library
        assert read_corpus().fingerprint == library.fingerprint

    @pytest.mark.parametrize("content", ["zip", "empty"])
    def test_a_python_without_sources_says_so(self, tmp_path, monkeypatch, content):
        folder = tmp_path / ("python311.zip" if content == "zip" else "lib")
        if content == "zip":
            folder.write_bytes(b"PK")
        else:
            folder.mkdir()
            (folder / "os.py").write_text("pass")
        monkeypatch.setattr(corpus.sysconfig, "get_path", lambda name: str(folder))
        with pytest.raises(FileNotFoundError, match="zip archive or without sources") as error:
            read_corpus()
        assert str(folder) in str(error.value)


class TestFile:
    def test_is_cut_by_length_at_ends_of_lines(self, tmp_path):
        path = tmp_path / "story.txt"
        text = "".join(f"line {i} of the story\n" for i in range(1009))
        path.write_text(text, encoding="utf-8")
        read = read_corpus(path)
        pieces = [document.text for part in PARTS for document in getattr(read, part)]
        assert "".join(pieces) == text
        assert [len(piece) / len(text) for piece in pieces] == pytest.approx(
            [0.9, 0.05, 0.05], abs=0.005
        )
        assert all(piece.startswith("line") and piece.endswith("\n") for piece in pieces)

    def test_one_long_line_is_cut_too(self, tmp_path):
        path = tmp_path / "line.txt"
        path.write_text("x" * 10_007)
        sizes = [characters(getattr(read_corpus(path), part)) for part in PARTS]
        assert sizes == [9006, 500, 501]  # cuts at int(10007 * 0.90) and int(10007 * 0.95)

    def test_line_ends_and_byte_order_mark_do_not_matter(self, tmp_path):
        lines = [f"zeile {i} grün" for i in range(500)]
        (tmp_path / "unix.txt").write_bytes("\n".join(lines).encode())
        (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
        unix, windows = (
            [d.text for part in PARTS for d in getattr(read_corpus(tmp_path / name), part)]
            for name in ("unix.txt", "windows.txt")
        )
        assert unix == windows

    def test_missing_path(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="does not exist") as error:
            read_corpus(tmp_path / "nowhere.txt")
        assert "nowhere.txt" in str(error.value)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "at least 2,000 characters of text.*'book' with 0 characters"),
            (b"too short", "at least 2,000 characters of text.*'book' with 9 characters"),
            (b"text\0" * 5000, "'book', which is binary"),
            ("grün".encode("latin-1") * 5000, "Expected text in UTF-8.*'book', which is not"),
        ],
        ids=["empty", "short", "binary", "latin-1"],
    )
    def test_no_useful_text(self, tmp_path, monkeypatch, data, message):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "book").write_bytes(data)
        with pytest.raises(ValueError, match=message):
            read_corpus("book")


class TestFolder:
    def test_many_files_are_split_by_file(self, tmp_path):
        write_files(tmp_path, 300)
        read = read_corpus(tmp_path)
        names = [[document.name for document in getattr(read, part)] for part in PARTS]
        assert sorted(sum(names, [])) == sorted(f"{i % 3}/{i}.txt" for i in range(300))
        assert all(part == sorted(part) for part in names)
        assert [len(part) / 300 for part in names] == pytest.approx([0.9, 0.05, 0.05], abs=0.05)

    def test_the_split_is_by_name_not_by_content_or_place(self, tmp_path):
        write_files(tmp_path / "a", 300)
        write_files(tmp_path / "b" / "c", 300, lines=50)
        one, other = read_corpus(tmp_path / "a"), read_corpus(tmp_path / "b" / "c")
        for part in PARTS:
            assert [d.name for d in getattr(one, part)] == [d.name for d in getattr(other, part)]
        assert one.fingerprint != other.fingerprint

    def test_few_files_are_each_cut_by_length(self, tmp_path):
        write_files(tmp_path, 3, lines=200)
        read = read_corpus(tmp_path)
        for part in PARTS:
            assert [d.name for d in getattr(read, part)] == ["0/0.txt", "1/1.txt", "2/2.txt"]
        whole = "".join(getattr(read, part)[1].text for part in PARTS)
        assert whole == (tmp_path / "1" / "1.txt").read_text()

    def test_what_is_not_text_is_left_out_and_listed(self, tmp_path):
        write_files(tmp_path, 3, lines=200)
        (tmp_path / "notes").write_text("no suffix\n" * 100)
        (tmp_path / "empty.txt").touch()
        (tmp_path / "photo.txt").write_bytes(b"\x89PNG\0")
        (tmp_path / "latin.txt").write_bytes(b"\xfc" * 9)
        (tmp_path / ".hidden").write_text("secret\n")
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "config").write_text("secret\n")
        (tmp_path / "link.txt").symlink_to(tmp_path / "gone")
        read = read_corpus(tmp_path)
        assert [d.name for d in read.train] == ["0/0.txt", "1/1.txt", "2/2.txt", "notes"]
        assert read.skipped == ("latin.txt", "photo.txt")

    def test_a_folder_without_text(self, tmp_path):
        (tmp_path / "photo.png").write_bytes(b"\x89PNG\0")
        with pytest.raises(
            ValueError, match="with 0 characters .skipped because they are not text: photo.png"
        ):
            read_corpus(tmp_path)


@pytest.mark.parametrize("name", ["secret", "secret/a.txt"])
def test_what_may_not_be_read_is_not_passed_over(name):
    with tempfile.TemporaryDirectory() as folder:  # that of pytest is its user's alone
        folder = Path(folder)
        write_files(folder, 9)
        (folder / "secret").mkdir()
        (folder / "secret/a.txt").write_text("a text\n")
        for path, rights in ((folder, 0o755), (folder / name, 0)):
            path.chmod(rights)
        root = os.geteuid() == 0
        if root:  # who may read all
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError, match=name):
                read_corpus(folder)
        finally:
            if root:
                os.seteuid(0)
            (folder / name).chmod(0o700)


def test_the_fingerprint_sees_every_part_and_name():
    a, b = Document("a", "text"), Document("b", "text")
    variants = [
        Corpus((a,), (b,), ()),
        Corpus((b,), (a,), ()),
        Corpus((a, b), (), ()),
        Corpus((Document("at", "ext"),), (b,), ()),
        Corpus((Document("a", "text "),), (b,), ()),
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)
    assert Corpus((a,), (b,), (), skipped=("c",)).fingerprint == variants[0].fingerprint
