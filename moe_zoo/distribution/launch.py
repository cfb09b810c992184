"""The launcher: starts the workers of this machine, and ends them together."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from moe_zoo.processes import CLIENT_ID, JOBS
from moe_zoo.terminal import show_text, signal_name
from moe_zoo.validation import check_at_least, shown

DEFAULT_GRACE = 30.0
SECONDS_TO_END = 5.0  # between SIGTERM and SIGKILL


def launch(
    workers: Sequence[str],
    command: Sequence[str],
    index: int | None = None,
    grace: float = DEFAULT_GRACE,
) -> int:
    """Run a command as the workers of a cluster that belong to this machine.

    Worker 0 writes where the launcher writes, and so does a worker that `index` names. Of the
    others the lines of stderr are shown, each with the number of its worker.

    Args:
        workers: `"host:port"` of every worker of the cluster.
        command: Program and arguments.
        index: The one worker to start; `None` starts those whose host is this machine.
        grace: Seconds that the others have to end by themselves when one has failed.

    Returns:
        The exit code: 0, or that of the first worker that failed (128 + n after signal n).

    Raises:
        ValueError: If an address is malformed or given twice, no worker has the index, or none
            belongs to this machine.
    """
    check_workers(workers)
    grace = check_at_least("grace", grace, 0.0)
    numbers = chosen_workers(workers, index)
    processes: list[subprocess.Popen[bytes]] = []
    threads: list[threading.Thread] = []
    with ended_by_sigterm():
        try:
            for number in numbers:
                quiet = number != 0 and index is None
                process = start_worker(workers, number, command, quiet)
                processes.append(process)
                if quiet:
                    threads.append(prefix_lines(process, number))
            return wait_for_all(dict(zip(numbers, processes, strict=True)), grace)
        finally:
            end_workers(processes)
            for thread in threads:
                thread.join(timeout=1)


def check_workers(workers: Sequence[str]) -> None:
    """Raise `ValueError` unless the addresses are different and of the form `host:port`."""
    for worker in workers:
        host, _, port = worker.rpartition(":")
        if not host or not port.isascii() or not port.isdecimal() or len(port) > 5:
            raise ValueError(
                "Expected the address of each worker as host:port. Received: "
                f"workers={shown(worker)}. Write for example --workers machine1:2222,machine2:2222."
            )
    if len(set(workers)) != len(workers):
        raise ValueError(
            "Expected workers with different addresses. Received: "
            f"workers={shown(','.join(workers))}. Give those of one machine different ports."
        )


def chosen_workers(workers: Sequence[str], index: int | None = None) -> list[int]:
    """Return the numbers of the workers to start here; raise `ValueError` if there are none."""
    if index is not None:
        if not 0 <= index < len(workers):
            raise ValueError(
                f"Expected the number of one of {len(workers)} workers, counted from 0. Received: "
                f"index={index}. Leave it out to start all workers of this machine."
            )
        return [index]
    numbers = [n for n, worker in enumerate(workers) if is_here(worker.rpartition(":")[0])]
    if not numbers:
        raise ValueError(
            f"Expected a worker of this machine, {socket.gethostname()}. Received: workers="
            f"{shown(','.join(workers))}. Correct the hosts, or name the worker with --index."
        )
    return numbers


def is_here(host: str) -> bool:
    """Return whether a host is this machine, by its name or one of its addresses."""
    host = host.strip("[]")  # of an IPv6 address
    if host in ("localhost", "::1", socket.gethostname(), socket.getfqdn()):
        return True
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, 0, type=socket.SOCK_STREAM
        ):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.bind(address)  # only a machine's own addresses can be bound
                return True
    return False


def start_worker(
    workers: Sequence[str], number: int, command: Sequence[str], quiet: bool
) -> subprocess.Popen[bytes]:
    """Start one worker, with its number in DTensor's environment variables."""
    environment = {
        **os.environ,
        JOBS: ",".join(workers),
        CLIENT_ID: str(number),
        "DTENSOR_NUM_CLIENTS": str(len(workers)),
        "DTENSOR_JOB_NAME": "worker",
    }
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.PIPE if quiet else None,
    )


def prefix_lines(process: subprocess.Popen[bytes], number: int) -> threading.Thread:
    """Pass on the stderr of a worker, each line with its number. Returns the thread."""

    def pass_on() -> None:
        for line in process.stderr or ():
            sys.stderr.write(f"[{number}] {line.decode(errors='replace')}")
            sys.stderr.flush()

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    return thread


def wait_for_all(processes: Mapping[int, subprocess.Popen[bytes]], grace: float) -> int:
    """Wait until all workers have ended, or `grace` seconds longer than the first one that fails.

    Args:
        processes: The processes by the number of their worker.
        grace: Seconds.

    Returns:
        The exit code of the first that failed, else 0.
    """
    running = dict(processes)
    code = 0
    deadline: float | None = None
    while running and (deadline is None or time.monotonic() < deadline):
        time.sleep(0.1)
        for number, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[number]
            if process.returncode != 0 and code == 0:
                code = exit_code(process.returncode)
                deadline = time.monotonic() + grace
                ending = describe(process.returncode)
                say(f"worker {number} {ending}; all must end within {grace:g} s.")
    for number in running:
        say(f"worker {number} did not end by itself and is ended now.")
    return code


def say(text: str) -> None:
    """Show a line of the launcher."""
    show_text(f"moe-zoo: {text}", error=True)


def describe(returncode: int) -> str:
    """Return how a worker ended, in words."""
    if returncode < 0:
        return f"was ended by {signal_name(-returncode)}"
    return f"ended with exit code {returncode}"


def exit_code(returncode: int) -> int:
    """Return the exit code that a shell shows for a process."""
    return 128 - returncode if returncode < 0 else returncode


def end_workers(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the workers that still run: by SIGTERM first, and then by SIGKILL."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + SECONDS_TO_END
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, end the launcher within this context as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
