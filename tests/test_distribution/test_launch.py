"""`moe-zoo launch`: who is started, what is shown, and how all end together."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from moe_zoo.distribution.launch import is_here
from moe_zoo.training.cli import main

TWO = "localhost:2221,localhost:2222"
WHO = "import os; me = int(os.environ['DTENSOR_CLIENT_ID']); "
# Worker 1 fails at once, worker 0 would go on for ever.
ONE_FAILS = "import sys, time; time.sleep(100 * (1 - me)); sys.exit(7)"


def command_of(program, workers=TWO, *options):
    start = [sys.executable, "-m", "moe_zoo", "launch", "--workers", workers, *options]
    return [*start, "--", sys.executable, "-c", WHO + program]


def launch(program, workers=TWO, *options):
    """Runs a Python program as the workers."""
    command = command_of(program, workers, *options)
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


# === What it starts and shows ===


def test_all_workers_of_this_machine_with_their_variables():
    workers = f"127.0.0.1:2221,[::1]:2222,{socket.gethostname()}:2223,192.0.2.1:2224"
    names = ["DTENSOR_JOBS", "DTENSOR_NUM_CLIENTS", "DTENSOR_JOB_NAME"]
    program = f"os.write(2, ' '.join([str(me), *map(os.environ.get, {names}), '\\n']).encode())"
    run = launch(program, workers)
    assert run.returncode == 0
    seen = f"{workers} 4 worker "
    expected = {f"0 {seen}", f"[1] 1 {seen}", f"[2] 2 {seen}"}  # 192.0.2.1 is nobody's address
    assert set(run.stderr.splitlines()) == expected


def test_what_each_worker_shows():
    run = launch("print('out', me); os.write(2, f'a{me}\\nb{me}\\n'.encode())")  # in one piece
    assert run.stdout == "out 0\n"
    assert sorted(run.stderr.splitlines()) == ["[1] a1", "[1] b1", "a0", "b0"]


def test_one_worker_by_its_number():
    """It is the scheduler's own process, so it shows all it has to say."""
    run = launch(
        *("import sys; print('out', me); print('err', me, file=sys.stderr)", "a:1,b:2,c:3"),
        *("--index", "2"),
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "out 2\n", "err 2\n")


def test_a_command_of_moe_zoo():
    command = [sys.executable, "-m", "moe_zoo", "launch", "--workers", TWO]
    run = subprocess.run(
        [*command, "--", "train", "lstm_lm", "--help"], capture_output=True, text=True, timeout=30
    )
    assert run.returncode == 0
    assert run.stdout.startswith("usage: moe-zoo train lstm_lm")


def test_it_needs_no_tensorflow():
    program = (
        "import sys; from moe_zoo.training.cli import main; main(['launch', '--workers', "
        f"'{TWO}', '--', 'true']); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 0


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("[::1]", True),
        (socket.gethostname(), True),
        ("192.0.2.1", False),
        ("nobody.invalid", False),
    ],
)
def test_which_hosts_are_this_machine(host, expected):
    assert is_here(host) is expected


# === How it ends ===


def test_one_fails_and_the_others_are_given_time():
    grace = 1.5
    start = time.monotonic()
    run = launch(ONE_FAILS, TWO, "--grace", str(grace))
    assert grace < time.monotonic() - start < grace + 10
    assert run.returncode == 7
    assert "worker 1 ended with exit code 7; all must end within 1.5 s" in run.stderr
    assert "worker 0 did not end by itself" in run.stderr


def test_one_fails_and_the_others_end_by_themselves():
    run = launch("import sys, time; time.sleep(1 - me); sys.exit(7 + me)", TWO, "--grace", "60")
    assert run.returncode == 8  # of the first that failed
    assert "by itself" not in run.stderr


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (40, "signal 40")])
def test_a_signal_becomes_an_exit_code(number, name):
    run = launch(f"os.kill(os.getpid(), {number}) if me else None")
    assert run.returncode == 128 + number
    assert f"worker 1 was ended by {name}" in run.stderr


@pytest.fixture
def heard():
    """Signals are heard even if a shell started the tests in the background, ignoring SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_launcher_ends_all(number, heard):
    program = "import time; print(os.getpid(), flush=True); time.sleep(100)"
    command = command_of(program, TWO)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as launcher:
        worker = int(launcher.stdout.readline())
        launcher.send_signal(number)
        _, errors = launcher.communicate(timeout=20)
    assert launcher.returncode == 130
    assert errors.endswith("moe-zoo: stopped.\n") and "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


# === What it refuses ===


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "a", "--", "true"], r"as host:port. Received: workers='a'"),
        (["--workers", "a:x", "--", "true"], "Received: workers='a:x'. Write for example"),
        (["--workers", "a:1,a:1", "--", "true"], "different addresses. Received: workers='a:1,a:1"),
        (["--workers", "a.invalid:1", "--", "true"], "Received: workers='a.invalid:1'. Correct"),
        (["--workers", "a:1,b:2", "--index", "2", "--", "true"], "of 2 workers, counted from 0. R"),
        (["--workers", "localhost:1", "--"], "Received: nothing after the options. Write"),
        (["--workers", "localhost:1", "--", "no-such-program"], "'no-such-program'"),
    ],
)
def test_errors(arguments, words, capsys):
    assert main(["launch", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("moe-zoo: ") and error.count("\n") == 1
    assert words in error
