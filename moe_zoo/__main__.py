"""The `moe-zoo` command as a process of its own, and how it takes interrupts."""

import _thread
import os
import signal
import sys
import threading
from types import FrameType

STOPPED = 130  # the exit code of a process that was interrupted, as shells have it


def main() -> int:
    """Run the command line. Returns the exit code."""
    handle_interrupts()
    try:
        from moe_zoo.training.cli import main as run

        return run()
    except KeyboardInterrupt:  # before the command began
        print("\nmoe-zoo: stopped.", file=sys.stderr)
        return STOPPED


def handle_interrupts() -> None:
    """Handle interrupts: the first stops the process, the second only says so, the third ends it.

    The first raises `KeyboardInterrupt`. Python drops one that comes in a callback of a weak
    reference or in a destructor, with a traceback: it is raised again.
    """
    heard = 0
    show_unraisable = sys.unraisablehook

    def interrupted(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard += 1
        if heard == 1:
            raise KeyboardInterrupt
        if heard > 2:
            os._exit(STOPPED)
        os.write(2, b"\nmoe-zoo: stopping. Interrupt once more to end at once.\n")

    def unraisable(dropped: "sys.UnraisableHookArgs") -> None:
        nonlocal heard
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            show_unraisable(dropped)
        elif heard == 1:
            heard = 0
            # From another thread: here it would be dropped as well.
            again = threading.Timer(0.01, _thread.interrupt_main)
            again.daemon = True
            again.start()

    signal.signal(signal.SIGINT, interrupted)
    sys.unraisablehook = unraisable


if __name__ == "__main__":
    raise SystemExit(main())
