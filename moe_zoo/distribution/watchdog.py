"""The watchdog: ends a process that waits for ever for another one."""

import contextlib
import os
import sys
import threading

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: start again later
DEFAULT_TIMEOUT = 600.0


class Watchdog:
    """Ends this process when a call that needs all processes takes too long.

    A collective that waits for a process which is alive but stuck can be neither interrupted nor
    made to time out, so there is nobody left to raise an error to.

    Args:
        seconds: `float`, how long a call may take.
    """

    def __init__(self, seconds=DEFAULT_TIMEOUT):
        self.seconds = seconds
        self._watching = False

    @contextlib.contextmanager
    def watch(self, call, seconds=None):
        """Within this context the time runs; a watch within a watch does not set it anew.

        Args:
            call: `str`, what the processes do together, for the message.
            seconds: `float`, instead of the watchdog's own.
        """
        if self._watching:
            yield
            return
        seconds = seconds or self.seconds
        timer = threading.Timer(seconds, end_process, [call, seconds])
        timer.daemon = True
        self._watching = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._watching = False


def end_process(call, seconds):
    """Say why, and end this process at once, whatever its other threads do."""
    print(
        f"\nmoe-zoo: Expected {call} to take at most {seconds:g} s in all processes. Received: no "
        "end of it, so another process is stuck, or late. Look at what the others do, then start "
        "the same command again, with a larger collective_timeout if they were only slow.",
        file=sys.stderr,
        flush=True,
    )
    sys.stdout.flush()
    os._exit(EXIT_CODE)


WATCHDOG = Watchdog()
