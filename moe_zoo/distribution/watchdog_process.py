"""The program of the watchdog: reads `[call, seconds]` lines, and ends its parent when time is up.

It runs alone, without moe_zoo and TensorFlow.
"""

import json
import os
import queue
import signal
import sys
import threading


def main(parent: int) -> None:
    """Follow the orders on stdin until there are no more."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the parent
        signal.signal(number, signal.SIG_IGN)
    orders: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=read_orders, args=[orders], daemon=True).start()
    call: str = ""
    seconds: float | None = None
    while True:
        try:
            order = orders.get(timeout=seconds and min(seconds, threading.TIMEOUT_MAX))
        except queue.Empty:
            end_process(parent, call, seconds)
            return
        if order is None:
            return
        call, seconds = json.loads(order)


def read_orders(orders: "queue.Queue[str | None]") -> None:
    """Put each line of stdin on a queue, and `None` after the last."""
    for line in sys.stdin:
        orders.put(line)
    orders.put(None)


def end_process(parent: int, call: str, seconds: float | None) -> None:
    """Write the reason, and end the parent at once."""
    if os.getppid() != parent:  # it has ended by itself
        return
    print(
        f"\nmoe-zoo: Expected {call} to take at most {seconds or 0:g} s. It has not finished, so "
        "another process is stuck or late, and this one is ended. Look at what the others do, then "
        "start the same command again, with a larger collective_timeout if they were only slow.",
        file=sys.stderr,
        flush=True,
    )
    os.kill(parent, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
