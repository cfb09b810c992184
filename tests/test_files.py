"""Folders that appear when they are complete."""

import pytest

from moe_zoo.files import new_folder


def held(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def fill(folder, text):
    folder.mkdir()
    (folder / "file").write_text(text)


def test_a_folder_takes_its_place_at_the_end(tmp_path):
    place = tmp_path / "a" / "b"
    with new_folder(place) as folder:
        fill(folder, "first")
        assert not place.exists()
    assert held(place) == {"file": "first"}
    with new_folder(str(place)) as folder:
        fill(folder, "second")
        assert held(place) == {"file": "first"}
    assert held(place) == {"file": "second"}
    assert [path.name for path in place.parent.iterdir()] == ["b"]


@pytest.mark.parametrize("earlier", [True, False])
def test_what_was_there_stays_when_filling_fails(tmp_path, earlier):
    place = tmp_path / "place"
    if earlier:
        fill(place, "first")
    with pytest.raises(OSError, match="no room"), new_folder(place) as folder:
        fill(folder, "second")
        raise OSError("no room")
    assert [path.name for path in tmp_path.iterdir()] == ["place"] * earlier
    assert not earlier or held(place) == {"file": "first"}


@pytest.mark.parametrize("earlier", [True, False])
def test_what_was_there_comes_back_when_the_new_one_cannot_be_moved(tmp_path, earlier):
    place = tmp_path / "place"
    if earlier:
        fill(place, "first")
    with pytest.raises(FileNotFoundError), new_folder(place):
        pass  # nothing to move
    assert [path.name for path in tmp_path.iterdir()] == ["place"] * earlier
    assert not earlier or held(place) == {"file": "first"}
