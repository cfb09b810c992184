"""Files and folders that appear under their name when they are complete."""

from .atomic import (
    check_file,
    check_place,
    new_file,
    new_folder,
    read_file,
    remove_folder,
    write_file,
)

__all__ = [
    "check_file",
    "check_place",
    "new_file",
    "new_folder",
    "read_file",
    "remove_folder",
    "write_file",
]
