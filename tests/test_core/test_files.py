"""Files and folders that appear when they are complete, whatever happens meanwhile."""

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap

import pytest

from moe_zoo.files import (
    check_place,
    new_file,
    new_folder,
    read_file,
    remove_folder,
    scratch,
    write_file,
)
from moe_zoo.files.locks import Lock

LINUX = sys.platform.startswith("linux")


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
    remove_folder(place)
    assert not list(place.parent.iterdir())


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


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("earlier", [True, False])
def test_what_was_there_comes_back_when_the_new_one_cannot_be_moved(
    tmp_path, earlier, exchange, monkeypatch
):
    if not exchange:
        monkeypatch.setattr(scratch, "_exchange", lambda new, place: False)
    place = tmp_path / "place"
    if earlier:
        fill(place, "first")
    with pytest.raises(FileNotFoundError), new_folder(place):
        pass  # nothing to move
    assert [path.name for path in tmp_path.iterdir()] == ["place"] * earlier
    assert not earlier or held(place) == {"file": "first"}


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_file(path, "first")
    path.chmod(0o640)
    with pytest.raises(UnicodeEncodeError):
        write_file(path, "second\ud800")  # fails while it is written
    assert path.read_text() == "first"
    write_file(path, b"\xff")
    assert path.read_bytes() == b"\xff" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_names_may_be_as_long_as_the_system_allows(tmp_path):
    name = "n" * 251 + ".txt"
    write_file(tmp_path / name, "text")
    assert held(tmp_path) == {name: "text"}


# === What is in the way ===


def make(kind, path):
    """Makes something of a kind; gives the words that a refusal has for it."""
    if kind == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))  # as /dev/full
        except PermissionError:
            pytest.skip("only root makes devices")
        return "a character device"
    if kind == "pipe":
        os.mkfifo(path)
        return "a named pipe"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))  # the whole path may be too long for a socket
        return "a socket"
    if kind == "circle":
        path.symlink_to(path)
        return "a link that leads in a circle"
    if kind == "link to a pipe":
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")
        return "a named pipe"
    if kind == "folder":
        path.mkdir()
        return "a folder"
    path.write_text("work")
    return "a file"


@pytest.mark.parametrize("new", [new_file, new_folder])
@pytest.mark.parametrize(
    "kind", ["device", "pipe", "socket", "circle", "link to a pipe", "folder", "file"]
)
def test_what_must_not_be_replaced_is_refused_before_any_work(tmp_path, kind, new):
    path = tmp_path / "place"
    words = make(kind, path)
    if kind == new.__name__.removeprefix("new_"):
        return  # that one may be replaced
    before = {x: (x.lstat().st_ino, x.lstat().st_mode) for x in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"Expected a new .*, or one to replace\.") as caught:
        with new(path):
            pytest.fail("it has begun")
    assert f"path={str(path)!r}, which is {words}. Choose another path." in str(caught.value)
    assert {x: (x.lstat().st_ino, x.lstat().st_mode) for x in tmp_path.iterdir()} == before


def test_a_file_is_no_place_for_a_folder_below_it(tmp_path):
    (tmp_path / "file").write_text("work")
    with pytest.raises(ValueError, match=r"which is inside '.*/file', which is no folder\."):
        check_place(tmp_path / "file" / "below" / "it")


@pytest.mark.parametrize("new", [new_file, new_folder])
@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + "/below"])
def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path, name, new):
    with pytest.raises(ValueError, match=r"which is longer than the system takes\."):
        with new(tmp_path / name):
            pytest.fail("it has begun")


@pytest.mark.skipif(not LINUX, reason="needs /proc, where nobody may write")
def test_a_folder_without_permission_is_refused_before_any_work():
    with pytest.raises(ValueError, match=r"inside '/proc/.*', a folder without permission to writ"):
        check_place("/proc/self/comm")


def test_only_files_are_read(tmp_path):
    """A named pipe would keep the reader waiting for ever, `/dev/zero` has no end."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"text")
    assert read_file(tmp_path / "link") == b"text"
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "nothing")
    for kind in ("device", "pipe", "socket", "link to a pipe", "folder"):
        path = tmp_path / kind.replace("pipe", "end")
        words = make(kind, path)
        with pytest.raises(ValueError, match=rf"a file to read\. .*, which is {words}\. Write"):
            read_file(path)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match="one letter or more, without NUL. Received: path='.*'. C"):
        check_place(path, folder=True)


@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed_and_stay(tmp_path, there):
    (tmp_path / "target").mkdir()
    for name in ("file", "folder"):
        (tmp_path / name).symlink_to(f"target/{name}")
    if there:
        (tmp_path / "target" / "file").write_text("first")
        fill(tmp_path / "target" / "folder", "first")
    write_file(tmp_path / "file", "second")
    with new_folder(tmp_path / "folder") as folder:
        fill(folder, "second")
    for name in ("file", "folder"):
        assert os.readlink(tmp_path / name) == f"target/{name}"
    assert (tmp_path / "target" / "file").read_text() == "second"
    assert held(tmp_path / "target" / "folder") == {"file": "second"}
    assert sorted(x.name for x in (tmp_path / "target").iterdir()) == ["file", "folder"]


# === Processes that are killed ===

# A process that replaces a folder and is killed at its n-th move, `after` it or before.
CHILD = """
    import ctypes, os, signal, sys, time
    from moe_zoo.files import scratch
    from moe_zoo.files import new_folder

    path, moment, exchange = sys.argv[1:]
    moves = []

    def hook(event, args):
        if event == "os.rename":
            moves.append(args)
            if moment == f"before move {len(moves)}":
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    if exchange == "False":
        scratch._exchange = lambda new, place: False
    with new_folder(path) as folder:
        folder.mkdir()
        (folder / "file").write_text("second")
        if moment == "while it writes":
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "stopped":
            print("stopped", flush=True)
            time.sleep(60)
        if moment == "after the moves":
            def to_disk(folder, usual=scratch._folder_to_disk):
                if str(folder) == os.path.dirname(path):
                    os.kill(os.getpid(), signal.SIGKILL)
                usual(folder)

            scratch._folder_to_disk = to_disk
"""


def child(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), *map(str, arguments)], stdout=subprocess.PIPE
    )


@pytest.mark.parametrize(
    ("exchange", "moment", "killed", "next_start"),
    [
        # What is at the place when the process is dead, and when another one has begun.
        (True, "while it writes", "first", "first"),
        (True, "after the moves", "second", "second"),
        (False, "while it writes", "first", "first"),
        (False, "before move 1", "first", "first"),
        (False, "before move 2", None, "second"),  # between the two: the new one was complete
        (False, "after the moves", "second", "second"),
    ],
)
@pytest.mark.skipif(not LINUX, reason="needs SIGKILL and an exchange of folders")
def test_killed_at_any_move(tmp_path, exchange, moment, killed, next_start):
    place = tmp_path / "place"
    fill(place, "first")
    with child(place, moment, exchange) as process:
        assert process.wait() == -signal.SIGKILL
    assert (held(place)["file"] if place.exists() else None) == killed
    assert len(list(tmp_path.glob(".moe-zoo-*"))) == 1
    write_file(tmp_path / "other", "of the next start")
    assert held(place) == {"file": next_start}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "place"]


@pytest.mark.skipif(not LINUX, reason="needs locks")
def test_a_living_writer_keeps_its_scratch_folder(tmp_path):
    process = child(tmp_path / "place", "stopped", True)
    try:
        assert process.stdout.readline() == b"stopped\n"
        (theirs,) = tmp_path.glob(".moe-zoo-*")
        write_file(tmp_path / "place.txt", "text")
        with new_folder(tmp_path / "place") as folder:
            fill(folder, "second writer")
            assert len(list(tmp_path.glob(".moe-zoo-*"))) == 2
            scratch.clean(tmp_path)  # as another thread may
        assert (theirs / "new" / "place" / "file").read_text() == "second"
    finally:
        process.kill()
        process.communicate()
    scratch.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place", "place.txt"]


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    from moe_zoo.files import locks

    (tmp_path / ".moe-zoo-abcd" / "new").mkdir(parents=True)
    monkeypatch.setattr(locks, "fcntl", None)
    write_file(tmp_path / "file", "text")
    assert {path.name for path in tmp_path.iterdir()} == {".moe-zoo-abcd", "file"}


def test_what_only_looks_like_scratch_stays(tmp_path):
    """A folder of the user's, and a link to one."""
    for name in (".moe-zoo-notes", "work"):
        fill(tmp_path / name, "work")
    (tmp_path / "work" / "lock").touch()
    (tmp_path / ".moe-zoo-link").symlink_to("work")
    (tmp_path / ".moe-zoo-killed").mkdir()  # its process ended before it had made a lock
    scratch.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".moe-zoo-link",
        ".moe-zoo-notes",
        "work",
    ]
    assert held(tmp_path / "work") == {"file": "work", "lock": ""}


@pytest.mark.skipif(not LINUX, reason="needs O_NOFOLLOW")
def test_a_lock_that_is_a_link_is_not_written_to(tmp_path):
    (tmp_path / "work").write_text("work")
    (tmp_path / "lock").symlink_to("work")
    with pytest.raises(OSError, match="symbolic link"):
        Lock(tmp_path / "lock")
