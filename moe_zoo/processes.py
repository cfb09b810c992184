"""The processes that share a mesh, as `DTENSOR_JOBS` lists them; DTensor itself is not imported."""

import os

JOBS = "DTENSOR_JOBS"
CLIENT_ID = "DTENSOR_CLIENT_ID"


def process_count() -> int:
    """Return the number of processes that share a mesh: 1 without `DTENSOR_JOBS`."""
    jobs = os.environ.get(JOBS)
    return len(jobs.split(",")) if jobs else 1


def process_index() -> int:
    """Return the number of this process, counted from 0."""
    return int(os.environ.get(CLIENT_ID, "0"))


def is_writer() -> bool:
    """Return whether this process writes the files that all processes share: the first one does.

    Example:

    >>> is_writer()
    True
    """
    return process_index() == 0
