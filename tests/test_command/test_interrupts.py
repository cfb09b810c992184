"""Interrupts of the command, one or several, at any moment."""

import signal
import subprocess
import sys
import time

import pytest

from cli_runs import TINY

IN_A_CALLBACK = """
import os, signal, time, weakref
from moe_zoo.__main__ import handle_interrupts
class Thing: pass
handle_interrupts()
thing = Thing()
weak = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
try:
    del thing
    time.sleep(5)
    print("goes on")
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGINT)
    print("stopped")
"""


def test_an_interrupt_in_a_callback_is_not_dropped():
    done = subprocess.run([sys.executable, "-c", IN_A_CALLBACK], capture_output=True, text=True)
    assert done.stdout == "stopped\n"
    assert done.stderr == "\nmoe-zoo: stopping. Interrupt once more to end at once.\n"


@pytest.mark.slow
@pytest.mark.parametrize("wait", ["", "Text: ", "parameters"])
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_a_pair_of_interrupts_leaves_no_traceback(text, tmp_path, wait, gap):
    options = [*TINY, "--steps", "4000", "--steps-per-epoch", "2000"]
    command = [sys.executable, "-u", "-m", "moe_zoo", "train", "lstm_lm", "--data", str(text)]
    command += ["--output", str(tmp_path / "run"), *options]
    log = tmp_path / "log.txt"
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        deadline = time.monotonic() + 120
        while process.poll() is None and wait not in log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        time.sleep(1.0)  # past the first instructions of Python itself
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(gap)
        code = process.wait(60)
    shown = log.read_text(encoding="utf-8")
    # While Python itself ends the system takes the second one, which shells show as 130 too.
    assert code in (130, -signal.SIGINT), shown
    assert "moe-zoo: stopped" in shown
    assert "Traceback" not in shown and "Exception ignored" not in shown
