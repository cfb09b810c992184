"""A target whose cases kill their process, leave it, hang, or are right."""

import os
import signal
import sys
import time

from fuzz.verdict import RIGHT, Verdict

SAID = {
    "kill": "the process died with exit code -9",
    "leave": "the process died with exit code 0",
    "exit": "the process died with exit code 3",
    "hang": "hangs: no result within 1 seconds",
    "right": None,
}


def draw(rng):
    return str(rng.choice(list(SAID)))


def check(case):
    if case == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "leave":
        os._exit(0)
    if case == "exit":
        sys.exit(3)
    if case == "hang":
        time.sleep(3600)
    return Verdict(RIGHT)
