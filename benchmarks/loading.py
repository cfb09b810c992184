"""Peak memory and time of a process while a published checkpoint is loaded.

A checkpoint of random values in the layout of switch-base-8, with fewer layers, is written; a fresh
process for each dtype loads it. A figure is what the peak resident memory of that process (VmHWM)
rises above what it was before, with TensorFlow and the library imported, over the size of the
model's weights in float32. Next to it is the peak of memory that belongs to no file (RssAnon,
sampled every 5 ms).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from moe_zoo.terminal import format_table

TARGET = 1.3
DTYPES = ("float32", "bfloat16")


def main():
    args = parse_arguments()
    if args.load:
        load(args.load)
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for dtype in DTYPES:
            for shards in (False, True):
                path = Path(folder, f"{dtype}-{shards}")
                size = write(path, dtype, shards, args)
                rows.append({"dtype": dtype, "files": "shards" if shards else "one", "file": size})
                rows[-1] |= measure(path)
    print(f"{rows[0]['weights']:.0f} MiB of weights, seed {args.seed}; target {TARGET}")
    columns = {
        "dtype": "file",
        "files": "files",
        "file": "MiB",
        "peak": "VmHWM",
        "ratio": "over weights",
        "anonymous": "RssAnon over weights",
        "seconds": "s",
    }
    print(format_table([{k: shown(v) for k, v in row.items()} for row in rows], columns))
    met = sum(row["ratio"] < TARGET for row in rows)
    print(f"{met} of {len(rows)} targets met")


def shown(value):
    if not isinstance(value, float):
        return value
    return f"{value:.0f}" if value >= 50 else f"{value:.2f}"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=8, metavar="L", help="of each stack")
    parser.add_argument("--width", type=int, default=768, metavar="D")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where to write the checkpoints")
    parser.add_argument("--short", action="store_true", help="a small model, where overhead shows")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.short:
        args.layers, args.width = 4, 256
    return args


def write(path, dtype, shards, args):
    """Write a checkpoint of random values, MiB of its tensors."""
    import numpy as np

    from moe_zoo.models.published.config import SwitchConfig, config_json
    from moe_zoo.models.published.safetensors_file import DTYPES, write_tensors
    from moe_zoo.models.published.tensor_names import weight_table

    width, layers = args.width, args.layers
    config = SwitchConfig(32128, width, layers, layers, width // 64, 64, 4 * width, 8)
    draw = np.random.default_rng(args.seed)
    stored = {x.name: x for x in DTYPES.values()}[dtype]
    tensors = {
        name: (stored, x.shape, lambda s=x.shape: draw.standard_normal(s, "float32"))
        for x in weight_table(config).values()
        for name in x.names
    }
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config_json(config, dtype)))
    if not shards:
        write_tensors(path / "model.safetensors", tensors)
    else:
        files = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
        parts = [dict(list(tensors.items())[i::3]) for i in range(3)]
        for file, part in zip(files, parts, strict=True):
            write_tensors(path / file, part)
        places = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        index = json.dumps({"metadata": {}, "weight_map": places})
        (path / "model.safetensors.index.json").write_text(index)
    return sum(file.stat().st_size for file in path.glob("*.safetensors")) / 2**20


def measure(path):
    """What a fresh process says of loading the checkpoint."""
    command = [sys.executable, __file__, "--load", str(path)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"Loading {path} failed: {run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def load(path):
    """Load a checkpoint in this process and print what it took."""
    import keras

    from moe_zoo.models import TransformerSeq2Seq

    keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])  # TensorFlow has started
    samples, done = [], threading.Event()

    def watch():
        while not done.wait(0.005):
            samples.append(resident("RssAnon"))

    before, anonymous = resident("VmRSS"), resident("RssAnon")
    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    model = TransformerSeq2Seq.from_huggingface(path)
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    peak = resident("VmHWM") - before
    weights = 4 * model.count_params() / 2**20
    figures = {"weights": weights, "peak": peak, "ratio": peak / weights, "seconds": seconds}
    figures["anonymous"] = (max(samples, default=anonymous) - anonymous) / weights
    print(json.dumps(figures))


def resident(kind):
    """A figure of this process's memory in /proc, MiB."""
    text = Path("/proc/self/status").read_text()
    return int(next(x for x in text.splitlines() if x.startswith(f"{kind}:")).split()[1]) / 2**10


if __name__ == "__main__":
    main()
