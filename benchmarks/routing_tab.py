"""The TensorBoard tab "MoE Routing": how soon it is complete, and how smoothly it scrolls.

Event files of random routing are written once (`--folder` keeps them), and TensorBoard loads them.
Then a browser without a window opens the page, again and again:

    ready     from opening the page until everything in view is drawn
    fetched   what the browser received for that, compressed
    move      from a move of the step slider until everything in view shows that step
    frame     between two frames while the page scrolls from top to bottom: the first time, when the
              layers' sections are filled as they come into view, and once they are
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import numpy as np

from browser import missing_programs, open_browser, wait_until_ready
from moe_zoo.terminal import format_table
from routing_board import RunWriter, tensorboard

TARGET = 3.0  # seconds until the page is ready
TOKENS = 32_768
PAGE = "data/plugin_entry.html?name=moe_routing"

# Milliseconds since the page was opened, once it is ready; and what it received.
READY = """
const done = arguments[0];
const look = () => document.body?.dataset.ready
  ? done([performance.now(), performance.getEntriesByType("resource")
      .reduce((bytes, entry) => bytes + entry.encodedBodySize, 0)])
  : requestAnimationFrame(look);
look();
"""
MOVE = """
const [place, done] = arguments;
const slider = document.getElementById("step");
const start = performance.now();
slider.value = Math.round(place * slider.max);
slider.dispatchEvent(new Event("input"));
const look = () => document.body.dataset.ready
  ? done(performance.now() - start) : requestAnimationFrame(look);
look();
"""
SCROLL = """
const done = arguments[0], times = [];
scrollTo(0, 0);
const frame = (now) => {
  times.push(now);
  scrollBy(0, 40);
  const left = document.documentElement.scrollHeight - innerHeight - scrollY;
  if (left > 1) requestAnimationFrame(frame);
  else done(times.slice(1).map((time, i) => time - times[i]));
};
requestAnimationFrame(frame);
"""


def main():
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        if not (folder / "train").exists():
            write(folder / "train", args)
        rows = [measure(folder, fast, args) for fast in ("true", "false")]
    print(describe(args))
    columns = {
        "fast": "--load_fast",
        "ready": "ready (s)",
        "fetched": "fetched (MiB)",
        "move": "move (ms)",
        "frame": "frame (ms)",
        "slow": "95 %",
        "worst": "worst",
        "again": "again: frame (ms)",
        "slow_again": "95 % ",
        "worst_again": "worst ",
    }
    print(format_table(rows, columns))
    met = sum(row["ready"] < TARGET for row in rows)
    if not args.short:
        print(f"{met} of {len(rows)} targets met: ready within {TARGET:.0f} s")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=12, metavar="L")
    parser.add_argument("--experts", type=int, default=64, metavar="E", help="of each layer")
    parser.add_argument("--steps", type=int, default=2000, help="written steps")
    parser.add_argument("--rounds", type=int, default=5, help="times that the page is opened")
    parser.add_argument("--folder", help="where event files are kept; taken if there are any")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="toy sizes: proves that it runs")
    args = parser.parse_args()
    if missing := missing_programs():
        parser.error(missing)
    if args.short:
        args.layers, args.experts, args.steps, args.rounds = 3, 8, 20, 2
    return args


def describe(args):
    sizes = f"{args.layers} layers, {args.experts} experts, {args.steps} steps, seed {args.seed}"
    note = "\nA short run with toy sizes: its figures mean nothing." if args.short else ""
    return f"{sizes}; medians of {args.rounds} rounds{note}"


def write(folder, args):
    """Event files of a router that learns to balance its load."""
    draw = np.random.default_rng(args.seed)
    writer = RunWriter(folder)
    for index in range(args.layers):
        early = draw.dirichlet(np.ones(args.experts))
        for step in range(1, args.steps + 1):
            done = step / args.steps
            shares = (1 - done) * early + done / args.experts
            demand = draw.multinomial(TOKENS, shares)
            load = np.minimum(demand, 1.25 * TOKENS // args.experts)
            writer.write_load(f"block_{index}_moe", 100 * step, demand, load, index=index)
    writer.close()


def measure(folder, fast, args):
    """A row of the table: the page on a TensorBoard that has loaded everything."""
    with tensorboard(folder, f"--load_fast={fast}") as board, open_browser() as browser:
        board.wait_for(lambda runs: loaded(runs, args))
        opened, moves, scrolls = [], [], []
        for _ in range(args.rounds):
            browser.get(board.url + PAGE)
            opened.append(browser.execute_async_script(READY))
            places = np.linspace(0, 1, 11)
            moves += [browser.execute_async_script(MOVE, float(place)) for place in places]
            for _ in range(2):
                scrolls.append(browser.execute_async_script(SCROLL))
                wait_until_ready(browser)
    first, again = np.concatenate(scrolls[::2]), np.concatenate(scrolls[1::2])
    return {
        "fast": fast,
        "ready": statistics.median(milliseconds / 1000 for milliseconds, _ in opened),
        "fetched": statistics.median(size / 2**20 for _, size in opened),
        "move": statistics.median(moves),
        "frame": float(np.median(first)),
        "slow": float(np.percentile(first, 95)),
        "worst": float(first.max()),
        "again": float(np.median(again)),
        "slow_again": float(np.percentile(again, 95)),
        "worst_again": float(again.max()),
    }


def loaded(runs, args):
    layers = runs.get("train", [])
    return len(layers) == args.layers and all(x["last"] == 100 * args.steps for x in layers)


if __name__ == "__main__":
    main()
