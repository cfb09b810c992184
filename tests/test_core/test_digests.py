"""What is read back is what was written, to the last bit."""

import json
import zipfile

import numpy as np
import pytest

from moe_zoo.files.digests import (
    check_archive,
    check_digests,
    digest,
    read_json,
    write_digests,
    write_json,
)

VALUES = {"steps": 60, "rate": 0.002, "none": None, "sizes": [2, 3], "name": "ä", "nan": np.nan}


def flips(content, count=97):
    """Copies of some bytes, each with one bit flipped, all over them."""
    for place in np.linspace(0, 8 * len(content) - 1, count).astype(int):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def test_json_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "values.json"
    assert read_json(path) is None
    write_json(path, {**VALUES, "tuple": (1,)})
    assert repr(read_json(path)) == repr({**VALUES, "tuple": [1]})  # nan != nan


def test_any_flipped_bit_of_a_json_file_is_found(tmp_path):
    path = tmp_path / "values.json"
    write_json(path, VALUES)
    content = path.read_bytes()
    found = 0
    for damaged in flips(content, 331):
        path.write_bytes(damaged)
        try:
            assert repr(read_json(path)) == repr(VALUES)  # white space, which means nothing
        except ValueError as error:
            assert f"Received: {str(path)!r}, which" in str(error) and "Restore it" in str(error)
            found += 1
    assert found > 200  # the others are white space


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"7", b'{"a": 1}', b"\xff", b"[" * 9999])
def test_what_is_no_json_file_of_ours_is_named(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json', which is no JSON file with a digest"):
        read_json(tmp_path / "run.json")


def make_folder(folder):
    (folder / "below").mkdir(parents=True)
    (folder / "a").write_bytes(b"12345")
    (folder / "below" / "b").write_bytes(b"678")
    write_digests(folder)


def test_a_folder_as_it_was_written_passes(tmp_path):
    make_folder(tmp_path)
    check_digests(tmp_path)
    (tmp_path / "more").write_text("what another program leaves there")
    check_digests(tmp_path)
    # printf 12345 | sha256sum
    assert digest(tmp_path / "a").startswith("5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5")


@pytest.mark.parametrize("name", ["a", "below/b", "digests.json"])
@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "gone"])
def test_a_folder_that_was_changed_is_named(tmp_path, name, damage):
    make_folder(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        flipped = bytes([content[0], content[1] ^ 1]) + content[2:]
        if name == "digests.json":
            flipped = content.replace(b"5994", b"5995")
        path.write_bytes({"flipped": flipped, "shorter": content[:-3]}.get(damage, content + b"9"))
    with pytest.raises(
        ValueError, match=name if damage == "gone" else f"{name}' is not|{name}', which"
    ):
        check_digests(tmp_path)


def test_a_flipped_bit_of_weights_is_found(tmp_path):
    path = tmp_path / "model.keras"
    weights = np.arange(500, dtype="float32").tobytes()
    with zipfile.ZipFile(path, "w") as archive:  # not compressed, as Keras writes it
        archive.writestr("config.json", json.dumps({"name": "model"}))
        archive.writestr("model.weights.h5", weights)
    check_archive(path)
    content = path.read_bytes()
    begin = content.index(weights)
    for damaged in flips(weights, 31):
        path.write_bytes(content[:begin] + damaged + content[begin + len(weights) :])
        with pytest.raises(ValueError, match=r"its part 'model\.weights\.h5' is not as it was"):
            check_archive(path)
