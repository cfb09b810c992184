"""Files of public data sets, fetched from a server of our own."""

import functools
import gzip
import hashlib
import http.server
import threading
import zipfile
from dataclasses import replace

import pytest
from test_census_income import census_row
from test_movielens import write_100k

from moe_zoo.training.datasets import adult, census_income, movielens
from moe_zoo.training.tables import downloads
from moe_zoo.training.tables.downloads import data_folder, download, find_data


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        if not self.path.endswith("/cut"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"too short")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder whose files are served, and the address that they are served at."""
    folder = tmp_path / "published"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv(downloads.VARIABLE, str(tmp_path / "cache"))
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class TestDownload:
    def test_a_file_is_fetched_once(self, published, tmp_path):
        folder, url = published
        (folder / "a.txt").write_text("content")
        target = tmp_path / "new" / "folder" / "a.txt"
        right = sha256(folder / "a.txt")
        assert download(url + "a.txt", target, right).read_text() == "content"
        (folder / "a.txt").unlink()
        assert download(url + "a.txt", target, right).read_text() == "content"
        assert files_in(tmp_path / "new") == ["a.txt"]

    def test_another_file_than_expected_is_not_kept(self, published, tmp_path):
        folder, url = published
        (folder / "a.txt").write_text("changed")
        with pytest.raises(ValueError, match=f"SHA-256 {'0' * 64}.*{sha256(folder / 'a.txt')}"):
            download(url + "a.txt", tmp_path / "new" / "a.txt", "0" * 64)
        assert files_in(tmp_path / "new") == []

    def test_a_check_may_reject_it(self, published, tmp_path):
        folder, url = published
        (folder / "a.txt").write_text("content")

        def check(path):
            assert path.read_text() == "content"
            raise ValueError("not this one")

        with pytest.raises(ValueError, match="not this one"):
            download(url + "a.txt", tmp_path / "new" / "a.txt", check=check)
        assert files_in(tmp_path / "new") == []

    @pytest.mark.parametrize("name", ["missing", "cut"])
    def test_a_file_that_does_not_come(self, published, tmp_path, name):
        with pytest.raises(ConnectionError, match=f"Expected .*{published[1]}{name}. Received: "):
            download(published[1] + name, tmp_path / "new" / "a.txt")
        assert files_in(tmp_path / "new") == []

    def test_offline(self, published, tmp_path):
        with pytest.raises(ConnectionError, match="Without a connection.*MOE_ZOO_DATA"):
            download("http://127.0.0.1:9/a.txt", tmp_path / "a.txt")


class TestFolders:
    def test_the_variable_and_the_default(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv(downloads.VARIABLE, raising=False)
        assert data_folder("adult") == tmp_path / ".cache" / "moe_zoo" / "adult"
        monkeypatch.setenv(downloads.VARIABLE, "~/data")
        assert data_folder("adult") == find_data("adult", None) == tmp_path / "data" / "adult"

    def test_the_folder_itself_or_the_one_around_it(self, tmp_path):
        (tmp_path / "adult").mkdir()
        assert find_data("adult", tmp_path) == tmp_path / "adult"
        assert find_data("adult", str(tmp_path / "adult")) == tmp_path / "adult"
        with pytest.raises(FileNotFoundError, match="folder of adult. Received: path=.*none"):
            find_data("adult", tmp_path / "none")


def write_gz(path, text):
    with gzip.open(path, "wt") as file:
        file.write(text)


class TestDataSets:
    def test_census_income(self, published, tmp_path, monkeypatch):
        folder, url = published
        train, test = (folder / f"census-income.{half}.gz" for half in ("data", "test"))
        write_gz(train, census_row() * 30)
        write_gz(test, census_row() * 20)
        monkeypatch.setattr(census_income, "HOME", url)
        monkeypatch.setattr(census_income, "TEST_SHA256", sha256(test))
        with pytest.raises(ValueError, match="Expected 199,523 rows of 42 columns.*with 30 rows"):
            census_income.read_census_income()
        monkeypatch.setattr(census_income, "TRAIN_ROWS", 30)
        data = census_income.read_census_income()
        assert data.rows["train"] == 30 and data.rows["validation"] + data.rows["test"] == 20
        cache = tmp_path / "cache" / "census_income_kdd"
        assert files_in(cache) == ["census-income.data.gz", "census-income.test.gz"]

    def test_adult(self, published, monkeypatch):
        folder, url = published
        row = (
            "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, "
            "White, Male, 2174, 0, 40, United-States, "
        )
        (folder / "adult.data").write_text(f"{row}<=50K\n" * 20 + "\n")
        (folder / "adult.test").write_text(f"|1x3 Cross validator\n{row}>50K.\n\n")
        monkeypatch.setattr(adult, "HOME", url)
        with pytest.raises(ValueError, match="Expected a file of SHA-256 5b002646"):
            adult.read_adult()
        names = ("adult.data", "adult.test")
        monkeypatch.setattr(adult, "SHA256", {name: sha256(folder / name) for name in names})
        data = adult.read_adult()
        assert (data.rows["train"] + data.rows["validation"], data.rows["test"]) == (20, 1)

    def test_movielens(self, published, tmp_path, monkeypatch):
        folder, url = published
        write_100k(tmp_path / "ml-100k")
        archive = folder / "ml-100k.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            for name in ("u.data", "u.user", "u.item"):
                packed.write(tmp_path / "ml-100k" / name, f"ml-100k/{name}")
        monkeypatch.setattr(movielens, "HOME", url)
        with pytest.raises(ValueError, match="Expected 100,000 ratings .* Received: 5"):
            movielens.read_movielens("100k")
        edition = movielens.EDITIONS["100k"]
        monkeypatch.setitem(movielens.EDITIONS, "100k", replace(edition, count=5))
        assert sum(movielens.read_movielens("100k").rows.values()) == 5
        assert files_in(tmp_path / "cache") == ["u.data", "u.item", "u.user"]
        monkeypatch.setenv(downloads.VARIABLE, str(tmp_path / "other"))
        with monkeypatch.context() as patch, pytest.raises(ValueError, match="of at most 9 bytes"):
            patch.setattr(movielens, "LARGEST_FILE", 9)
            movielens.read_movielens("100k")
        archive.write_bytes(b"no archive")
        with pytest.raises(ValueError, match="Expected a zip archive with ml-100k/u.data"):
            movielens.read_movielens("100k")
