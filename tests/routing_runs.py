"""Written runs for the routing tab, with numbers that tests derive again."""

import contextlib
import json

import numpy as np

from routing_board import RunWriter, tensorboard

EXPERTS = 4
STEPS = [100, 200, 300, 400, 500]
RUN, OTHER, ODD = "switch/train", "top2/train", "odd"
MEAN_GATES = {RUN: [0.5, 0.25, 0.125, 1.0], OTHER: [0.125, 0.25, 0.125, 0.5]}
FIRST, SECOND = "block_0_moe", "block_1_moe"
WATCHED = SECOND, 200
EVIL = "<script>window.hacked=1</script>"
EVIL_LAYER = "<img src=x onerror=window.hacked=1>"
PAIRS = np.array([[0, 30, 10, 0], [30, 0, 5, 15], [10, 5, 0, 0], [0, 15, 0, 0]])
GATES = {"income": [0.5, 0.25, 0.25, 0.0], "married": [0.125, 0.125, 0.25, 0.5]}
# Step -> tokens, each a piece and its choices: expert, gate, kept.
TOKENS = {
    200: [["The", [[0, 0.9, True]]], [" cat", [[1, 0.8, True]]]],
    400: [
        ["A", [[2, 0.75, True], [1, 0.25, False]]],
        [EVIL, [[1, 0.625, True]]],
        [" \n", [[3, 0.5, False], [0, 0.125, False]]],
        ["none", []],
    ],
}


@contextlib.contextmanager
def board_of_runs(logs):
    """TensorBoard on all of these runs."""
    write_run(logs, RUN, STEPS)
    write_run(logs, OTHER, STEPS[:3])
    odd = RunWriter(logs / ODD)
    odd.write(EVIL_LAYER, "load", 1, [3, 1])
    odd.write("unreadable", "examples", 1, "{", index=1)
    odd.write("unreadable", "health", 1, [EVIL], index=1)
    odd.close()
    with tensorboard(logs) as board:
        board.wait_for(lambda runs: len(runs) == 3 and runs[RUN][0]["last"] == STEPS[-1])
        yield board


def write_run(folder, run, steps):
    writer = RunWriter(folder / run)
    for index, layer in enumerate((FIRST, SECOND)):
        for step in steps:
            demand, load = demand_of(run, layer, step), load_of(run, layer, step)
            watched = ["64% dropped, 200 of 500 steps"] if (layer, step) == WATCHED else []
            writer.write_load(layer, step, demand, load, MEAN_GATES[run], watched, index=index)
    if run == RUN:
        for step, tokens in TOKENS.items():
            writer.write(FIRST, "examples", step, json.dumps({"texts": [tokens]}), index=0)
        writer.write(FIRST, "pairs", 300, PAIRS, index=0)
        for task, gates in GATES.items():
            content = {"index": 2, "group": "mmoe", "task": task}
            for step in steps:
                importance = 64 * np.array(gates)
                writer.write(f"mmoe_{task}", "importance", step, importance, **content)
                writer.write(f"mmoe_{task}", "load", step, np.full(EXPERTS, 64), **content)
    writer.close()


def load_of(run, layer, step):
    """`[E]`; expert 3 of the first layer computes nothing from step 400 on."""
    load = np.array([step + 37 * expert * (1 if run == RUN else 5) for expert in range(EXPERTS)])
    if layer == FIRST and run == RUN and step >= 400:
        load[3] = 0
    return load + (1000 if layer == SECOND else 0)


def demand_of(run, layer, step):
    """50 choices of expert 0 found no slot."""
    return load_of(run, layer, step) + [50, 0, 0, 0]


def describe_cell(load, step, expert):
    """The readout of a cell in the heat map of the load."""
    share = load[expert] / load.sum()
    return (
        f"step {step}, expert {expert}: {load[expert]:,} choices, {100 * share:.1f}% "
        f"({EXPERTS * share:.2f}× uniform)"
    )


def dropped_of(demand):
    return f"{float(f'{100 * 50 / demand.sum():.1f}'):g}%"


def cell(step, row, rows=EXPERTS):
    """The middle of a cell: the windows of the five steps are equally long."""
    return (STEPS.index(step) + 0.5) / len(STEPS), (row + 0.5) / rows
