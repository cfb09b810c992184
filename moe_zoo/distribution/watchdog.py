"""The watchdog: ends a process that waits forever for another one."""

import atexit
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEFAULT_TIMEOUT = 600.0
PROGRAM = Path(__file__).with_name("watchdog_process.py")


class Watchdog:
    """Ends this process when a call that needs all processes takes too long.

    A collective that waits for a process which is alive but stuck can be neither interrupted nor
    made to time out, so there is nobody left to raise an error to. DTensor waits for it with
    Python's lock held, where no thread of ours would run: the watchdog is a process of its own.

    Args:
        seconds: How long a call may take.
    """

    def __init__(self, seconds: float = DEFAULT_TIMEOUT):
        self.seconds = seconds
        self._orders: Any = None  # stdin of the process, once there is one
        self._watching = False

    @contextlib.contextmanager
    def watch(self, call: str, seconds: float) -> Iterator[None]:
        """Measure the time of this context; a watch within a watch does not start it again.

        Args:
            call: What the processes do together, for the message.
            seconds: How long it may take.
        """
        if self._watching:
            yield
            return
        self._watching = True
        self._order(call, seconds)
        try:
            yield
        finally:
            self._watching = False
            self._order("", None)

    def _order(self, call: str, seconds: float | None) -> None:
        if self._orders is None:
            process = subprocess.Popen(
                [sys.executable, "-I", PROGRAM, str(os.getpid())], stdin=subprocess.PIPE
            )
            self._orders = process.stdin
            atexit.register(process.communicate)  # at the end of its input it ends
        self._orders.write(json.dumps([call, seconds]).encode() + b"\n")
        self._orders.flush()


WATCHDOG = Watchdog()
