"""Files that appear under their name when they are complete."""

import contextlib
import os
from pathlib import Path


def write_atomically(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 text file, to a temporary name first."""
    path = Path(path)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8", newline="\n")
        os.replace(scratch, path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
