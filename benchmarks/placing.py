"""Peak memory of a process while a model is placed on a mesh of two processes.

    distribute  the model is made whole in each process, then placed
    build       each weight is made, placed and forgotten before the next one

A figure is what the peak resident memory of the first process rises above what it was before the
model was made, in two fresh processes for each figure.
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
from contextlib import ExitStack

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from moe_zoo.terminal import format_table

WIDTH, HIDDEN, LAYERS = 256, 1024, 16
WAYS = ("distribute", "build")
WORKERS = 2


def main():
    args = parse_arguments()
    if args.worker is not None:
        place(args.worker, args.experts[0])
        return
    rows = []
    for experts in args.experts:
        weights = LAYERS * experts * (2 * WIDTH * HIDDEN + HIDDEN + WIDTH) * 4 / 2**20
        row = {"experts": experts, "weights": f"{weights:.0f}", "part": f"{weights / WORKERS:.0f}"}
        rows.append(row | {way: f"{measure(way, experts):.0f}" for way in WAYS})
    print(f"Two processes, mesh expert=2; {LAYERS} layers, D={WIDTH}, F={HIDDEN}; MiB")
    columns = {"experts": "E", "weights": "all experts", "part": "of one process"}
    print(format_table(rows, columns | {way: f"peak, {way}" for way in WAYS}))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 16, 32], metavar="E")
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(way, experts):
    """What the peak of the first process rises by, MiB."""
    with ExitStack() as sockets:
        ports = [sockets.enter_context(socket.create_server(("localhost", 0))) for _ in range(2)]
        workers = ",".join(f"localhost:{port.getsockname()[1]}" for port in ports)
    command = [sys.executable, "-m", "moe_zoo", "launch", "--workers", workers, "--"]
    command += [sys.executable, __file__, "--worker", way, "--experts", str(experts)]
    # Freed memory goes back to the system, so that the peak is of what lives.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        raise RuntimeError(f"Placing by {way} failed: {run.stderr[-2000:]}")
    return json.loads(next(x for x in run.stdout.splitlines() if x.startswith("{")))["rise"]


def place(way, experts):
    """Place a model in this process, one of two, and print what the peak rises by."""
    import keras

    from moe_zoo.distribution import ExpertParallel, is_writer
    from moe_zoo.experts import FeedForwardExperts
    from moe_zoo.layers import MoE
    from moe_zoo.routers import SwitchRouter

    def make():
        keras.utils.set_random_seed(1)
        mixtures = [
            MoE(SwitchRouter(seed=1), FeedForwardExperts(experts, HIDDEN)) for _ in range(LAYERS)
        ]
        return keras.Sequential([keras.Input((8, WIDTH)), *mixtures])

    parallel = ExpertParallel("expert=2")
    before = peak()
    if way == "build":
        parallel.build(make)
    else:
        parallel.distribute(make())
    if is_writer():
        print(json.dumps({"rise": peak() - before}), flush=True)


def peak():
    """The highest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
