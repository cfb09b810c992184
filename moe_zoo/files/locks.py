"""Locks that the kernel releases when their process ends, however it ends."""

import contextlib
import json
import os
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


class Lock:
    """An advisory lock on a file: `flock`, which works between machines on NFS too.

    It is released when the object goes, or the process and all that it forked.

    Args:
        path: File to lock, made if it is missing; not a link, since `sign` writes to it. It stays
            when the lock is released.

    Raises:
        BlockingIOError: If another process, or another `Lock`, holds it.
        OSError: If the file cannot be opened.

    Attributes:
        held: `bool`, false on a file system without locks; then nothing is excluded.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = Lock(Path(folder, "lock"))
    ...     lock.held
    ...     lock.release()
    True
    """

    _descriptor: int | None = None

    def __init__(self, path: str | os.PathLike):
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
        try:
            self.held = _lock(self._descriptor)
            here = os.fstat(self._descriptor)
            if not os.path.lexists(path) or not os.path.samestat(here, os.stat(path)):
                raise BlockingIOError(f"{path} was removed by another process.")
        except BaseException:
            self.release()
            raise

    def sign(self) -> None:
        """Write the holder's process and host into the file, for `holder`."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        who = {"pid": os.getpid(), "host": socket.gethostname()}
        os.pwrite(self._descriptor, json.dumps(who).encode(), 0)

    def release(self) -> None:
        """Let others have it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    __del__ = release


def holder(path: str | os.PathLike) -> str:
    """Return who has signed a lock, in words."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        who = json.loads(Path(path).read_bytes())
        return f"process {int(who['pid'])} on {str(who['host'])[:100]}"
    return "another process"


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # of network file systems that were mounted without locks
        return False
    return True
