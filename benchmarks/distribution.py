"""Training steps on a mesh: time over plain Keras, what devices send to each other, memory.

    time         a step of `fit` on meshes expert=2 and expert=4 over the same step of plain Keras.
                 The devices are parts of one CPU and share its cores: no speed-up can show, only
                 what it costs to be spread. CPU time is that of all threads, in rounds of its own:
                 it says how much of that is work, and not waiting for each other.
    collectives  bytes that one device gives in a step, and what `estimate` says
    memory       bytes of weights and optimizer slots on one device, and the peak of the process
                 that holds all devices

All steps run in one process, in random order in every round; a figure is the median over rounds of
the ratio within a round. Memory is measured in a process for each figure.
"""

import argparse
import itertools
import math
import os
import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from measure import interleaved, ratio

from moe_zoo.distribution import ExpertParallel, estimate, virtual_devices
from moe_zoo.distribution.collectives import record_collectives
from moe_zoo.distribution.layouts import expert_variables
from moe_zoo.distribution.optimizer import optimizer_slots
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter
from moe_zoo.terminal import format_table

TARGET, TARGET_MS = 1.2, 200  # over the plain step, from steps of so many milliseconds
PLAIN = "plain Keras"
VOCABULARY, LENGTH, TOP_K, FACTOR = 1000, 64, 2, 1.25


class Sizes(NamedTuple):
    """A model of blocks of attention and a mixture, and its batch."""

    blocks: int
    width: int
    hidden: int
    batch: int
    experts: int = 8

    @property
    def tokens(self):
        return self.batch * LENGTH


SIZES = {
    "small": Sizes(blocks=1, width=64, hidden=256, batch=8),
    "medium": Sizes(blocks=2, width=128, hidden=512, batch=16),
    "large": Sizes(blocks=2, width=256, hidden=1024, batch=32),
}
TOY = Sizes(blocks=1, width=16, hidden=32, batch=8)


def main():
    args = parse_arguments()
    virtual_devices(max(args.devices))
    tf.get_logger().setLevel("ERROR")
    print(describe(args))
    memory_table(args)  # first: a child's peak starts at what its parent holds
    ratios = []
    for name, sizes in {"toy": TOY}.items() if args.short else SIZES.items():
        ratios += time_table(args, name, sizes)
    print_summary(ratios)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, nargs="+", default=[2, 4], metavar="N")
    parser.add_argument(
        "--experts", type=int, nargs="+", default=[8, 32, 128], metavar="E", help="for memory"
    )
    parser.add_argument("--rounds", type=int, default=15, help="rounds of timing, at least 9")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--short", action="store_true", help="toy sizes, within a minute: proves that it runs"
    )
    args = parser.parse_args()
    if args.short:
        args.devices, args.experts, args.rounds = [2], [8], 3
    elif args.rounds < 9:
        parser.error(f"Expected at least 9 rounds. Received: rounds={args.rounds}.")
    return args


def describe(args):
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    versions += f", Keras {keras.__version__}"
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {versions}"
    note = "\nA short run with toy sizes: its figures mean nothing." if args.short else ""
    return f"{machine}\n{args.rounds} rounds, seed {args.seed}{note}"


# === The model ===


def build(sizes, seed):
    """A compiled model, the same for the same seed."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, sizes.width)(tokens)
    for _ in range(sizes.blocks):
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.MultiHeadAttention(4, sizes.width // 4)(y, y, use_causal_mask=True)
        x = keras.layers.add([x, y])
        router = GShardRouter(capacity_factor=FACTOR, seed=seed)
        mixture = MoE(router, FeedForwardExperts(sizes.experts, sizes.hidden), sizes.tokens // 8)
        x = keras.layers.add([x, mixture(keras.layers.LayerNormalization()(x))])
    model = keras.Model(tokens, keras.layers.Dense(VOCABULARY)(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def training_step(sizes, seed, devices=None):
    """A step of `fit` on one batch as a function, and the model and its `ExpertParallel`."""
    model, parallel = build(sizes, seed), None
    if devices is not None:
        parallel = ExpertParallel(f"expert={devices}")
        parallel.distribute(model)
    draws = np.random.default_rng(seed).integers(0, VOCABULARY, (sizes.batch, LENGTH + 1), "int32")
    batches = itertools.repeat((tf.constant(draws[:, :-1]), tf.constant(draws[:, 1:])))
    model.make_train_function()

    def step():
        return float(model.train_function(batches)["loss"])

    return step, model, parallel


def expected(sizes, model, devices):
    """What `estimate` says of a model."""
    experts = sum(math.prod(variable.shape) for variable in expert_variables(model))
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    return estimate(
        f"expert={devices}",
        num_layers=sizes.blocks,
        num_experts=sizes.experts,
        width=sizes.width,
        hidden_dim=sizes.hidden,
        top_k=TOP_K,
        capacity_factor=FACTOR,
        tokens=sizes.tokens,
        group_size=sizes.tokens // 8,
        other_parameters=trainable - experts,
    )


# === Time and collectives ===


def time_table(args, name, sizes):
    """Time over the plain step on each mesh, and what the mesh's devices send."""
    steps, first, sent = {}, {}, []
    for devices in (None, *args.devices):
        label = PLAIN if devices is None else f"expert={devices}"
        start = time.perf_counter()
        step, model, _ = training_step(sizes, args.seed, devices)
        with record_collectives() as found:
            step()
        steps[label], first[label] = step, time.perf_counter() - start
        if devices is not None:
            sent += collectives_of(label, found, expected(sizes, model, devices))
    rng = np.random.default_rng(args.seed)
    times = interleaved(steps, args.rounds, rng)
    work = interleaved(steps, args.rounds, rng, time.process_time)

    milliseconds = 1000 * float(np.median(times[PLAIN]))
    print(f"\n{name}: a plain step of {milliseconds:.0f} ms; {shown(sizes)}")
    ratios = [(name, milliseconds, label, ratio(times, label, PLAIN)) for label in steps]
    rows = [
        {
            "mesh": label,
            "ms": f"{1000 * np.median(times[label]):.0f}",
            "ratio": f"{value:.2f}",
            "work": f"{ratio(work, label, PLAIN):.2f}",
            "first": f"{first[label]:.1f} s",
        }
        for _, _, label, value in ratios
    ]
    columns = {"mesh": "mesh", "ms": "ms", "ratio": "over plain", "work": "CPU time over plain"}
    columns |= {"first": "to first step"}
    print(format_table(rows, columns))
    print()
    print(
        format_table(
            sent,
            {
                "mesh": "mesh",
                "kind": "collective",
                "count": "a step",
                "bytes": "bytes of a device",
                "theory": "estimate",
            },
        )
    )
    return ratios[1:]


def collectives_of(label, found, cost):
    """Rows of count and bytes by kind."""
    kinds = {
        "all-to-all": cost.all_to_all,
        "all-gather": cost.all_gather,
        "all-reduce": cost.all_reduce,
    }
    rows = []
    for kind, theory in kinds.items():
        given = [collective.bytes for collective in found if collective.kind == kind]
        rows.append(dict(mesh=label, kind=kind, count=len(given), bytes=sum(given), theory=theory))
    return rows


def shown(sizes):
    return (
        f"blocks={sizes.blocks}, T={sizes.tokens}, D={sizes.width}, F={sizes.hidden}, "
        f"E={sizes.experts}, top-{TOP_K}, capacity {FACTOR}"
    )


# === Memory ===


def memory_table(args):
    """Weights and slots on one device, and the process's peak, as the number of experts grows."""
    sizes = TOY if args.short else SIZES["medium"]
    print(f"\nMemory; {shown(sizes).replace('E=8', 'E as below')}")
    rows = []
    for experts in args.experts:
        for devices in (1, *args.devices):
            # A process can split its CPU once, and its peak never falls.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                job = pool.submit(memory_of, sizes._replace(experts=experts), args.seed, devices)
                rows.append(job.result())
    columns = {
        "experts": "E",
        "mesh": "mesh",
        "held": "weights and slots, MiB a device",
        "theory": "estimate",
        "peak": "peak of the process, MiB",
    }
    print(format_table(rows, columns))


def memory_of(sizes, seed, devices):
    """A row of the table, measured in this process."""
    virtual_devices(devices)
    step, model, parallel = training_step(sizes, seed, devices)
    for _ in range(3):
        step()
    kept = {id(slot) for slot, _ in optimizer_slots(model)}
    kept |= {id(variable) for variable in model.trainable_variables}
    held = [x.bytes_per_device for x in parallel.layouts(model) if id(x.variable) in kept]
    cost = expected(sizes, model, devices)
    theory = cost.state - cost.expert_gradients - cost.other_gradients
    return {
        "experts": sizes.experts,
        "mesh": f"expert={devices}",
        "held": f"{sum(held) / 2**20:.1f}",
        "theory": f"{theory / 2**20:.1f}",
        "peak": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f}",
    }


def print_summary(ratios):
    judged = [entry for entry in ratios if entry[1] >= TARGET_MS]
    missed = [entry for entry in judged if round(entry[3], 2) > TARGET]
    print(f"\n{len(judged) - len(missed)} of {len(judged)} targets met: {TARGET} over plain")
    for name, _, label, value in missed:
        print(f"  missed: {name}, {label}: {value:.2f}")


if __name__ == "__main__":
    main()
