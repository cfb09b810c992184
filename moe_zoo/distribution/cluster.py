"""The cluster: the processes that share a mesh, and the calls that they make together."""

import contextlib
import functools
import re
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.processes import process_count, process_index
from moe_zoo.validation import shown

from .watchdog import DEFAULT_TIMEOUT, WATCHDOG

# What TensorFlow raises when another process ends or freezes.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class WorkerLostError(RuntimeError):
    """Raised when another process of the cluster has ended, is frozen, or cannot be reached."""


@functools.cache
def connect(device_type: str) -> None:
    """Meet the other processes that `DTENSOR_JOBS` names, if there are any.

    Args:
        device_type: `"CPU"` or `"GPU"`.

    Raises:
        RuntimeError: If TensorFlow has started already.
        WorkerLostError: If a process cannot be reached.
    """
    if not dtensor.jobs():
        return
    with collective(f"the meeting of {', '.join(dtensor.jobs())}"):
        try:
            dtensor.initialize_accelerator_system(device_type)
        except ValueError as error:
            raise RuntimeError(
                "Expected to meet the other processes before TensorFlow starts. Received: "
                f"DTENSOR_JOBS={shown(','.join(dtensor.jobs()))}, and it has started. Make the "
                "ExpertParallel first of all, before models and data sets."
            ) from error


@contextlib.contextmanager
def collective(call: str, compiles: bool = False) -> Iterator[None]:
    """Do within this context what all processes do, waiting for each other.

    With one process it has no effect.

    Args:
        call: What they do, for messages.
        compiles: Whether they compile first, for which the default timeout is the least.

    Raises:
        WorkerLostError: If another process has ended. If it has not, but does not take part, the
            watchdog ends this process.
    """
    if process_count() == 1:
        yield
        return
    seconds = max(WATCHDOG.seconds, DEFAULT_TIMEOUT) if compiles else WATCHDOG.seconds
    try:
        with WATCHDOG.watch(call, seconds):
            yield
    except LOST as error:
        raise WorkerLostError(lost_message(call, error.message)) from error


def lost_message(call: str, message: str) -> str:
    """Return the message for a process that TensorFlow has lost during a call."""
    others = {int(number) for number in re.findall(r"/task:(\d+)", message)} - {process_index()}
    lost = " and ".join(f"process {number}" for number in sorted(others)) or "another process"
    return (
        f"Expected all {process_count()} processes to take part in {call}. Received: {lost} ended "
        f"or froze, says process {process_index()}. Look at its last messages, then start the same "
        "command again; with BackupAndRestore it resumes from the last checkpoint."
    )
