"""Batches whose routing is known, a model that routes them, and every summary counted by hand."""

import math

import keras
import numpy as np

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import SwitchRouter
from routing_events import read

# A batch is one group of 5 x 7 tokens. A token is 2 * one_hot(i). The gate matrix of the layer
# "same" is the identity, so the token goes to expert i with probability e^2 / (e^2 + 2); the layer
# "next" sends it to i + 1. Nothing is trained: the learning rate is zero.
EXPERTS, BATCH, LENGTH, BATCHES = 3, 5, 7, 11
TOKENS = BATCH * LENGTH
WEIGHT = 0.25  # of the balance loss
CAPACITY = 15  # ceil(1.25 * 35 / 3 = 14.6), in training and, by the same factor, in evaluation
CHOSEN = math.exp(2) / (math.exp(2) + 2)
OTHER = 1 / (math.exp(2) + 2)
TARGET = 0.5  # the outputs are zero, so the task loss is its square


def make_ids():
    """`[batches, tokens]`; the third expert is in demand only in batches 3 to 5."""
    rng = np.random.default_rng(0)
    few, many = ([0.7, 0.3, 0.0], [0.6, 0.1, 0.3])
    rows = [rng.choice(3, TOKENS, p=many if 3 <= b < 6 else few) for b in range(BATCHES)]
    return np.array(rows)


def make_data(ids):
    x = 2 * np.eye(EXPERTS, dtype="float32")[ids]
    x = x.reshape(BATCHES * BATCH, LENGTH, EXPERTS)
    return x, np.full((*x.shape[:2], 1), TARGET, "float32")


def build_model(jit_compile=False, steps_per_execution=1, learning_rate=0.0):
    inputs = keras.Input((LENGTH, EXPERTS))
    layers = {}
    for name in ("same", "next"):
        router = SwitchRouter(1, 1.25, 1.25, jitter=0.0, balance_loss_weight=WEIGHT)
        layers[name] = MoE(router, FeedForwardExperts(EXPERTS, hidden_dim=13), name=name)
    x = keras.layers.add([layer(inputs) for layer in layers.values()])
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(x)
    model = keras.Model(inputs, outputs)
    layers["same"].router.kernel.assign(np.eye(EXPERTS))
    layers["next"].router.kernel.assign(np.roll(np.eye(EXPERTS), 1, axis=1))
    model.compile(
        keras.optimizers.SGD(learning_rate),
        "mse",
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    return model


def fit(model, data, callbacks, epochs=1, **kwargs):
    return model.fit(
        *data,
        batch_size=BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **kwargs,
    ).history


def counted(ids, layer):
    """Every summary of the given batches, from the expert of each token alone."""
    ids = (ids + 1) % EXPERTS if layer == "next" else ids
    demand = np.array([np.bincount(row, minlength=EXPERTS) for row in ids])
    load = np.minimum(demand, CAPACITY).sum(0)
    # f_e is an expert's share of the tokens, P_e the mean of its probability.
    mean_probability = (demand * CHOSEN + (TOKENS - demand) * OTHER) / TOKENS
    balance = WEIGHT * EXPERTS * (demand / TOKENS * mean_probability).sum(1)
    demands = demand.sum(0)
    scalars = {
        "dropped_fraction": 1 - load.sum() / demand.sum(),
        "load_cv": load.std() / load.mean(),
        "importance_cv": demands.std() / demands.mean(),  # every gate is the same
        "entropy": -CHOSEN * math.log(CHOSEN) - 2 * OTHER * math.log(OTHER),
        "dead_experts": (load == 0).sum(),
    }
    return {
        **{name: value for name, value in scalars.items() if name != "importance_cv"},
        "balance_loss": balance.mean(),
        "expert_load": [[e, e + 1, load[e]] for e in range(EXPERTS)],
        "load": load,
        "demand": demands,
        "importance": demands * CHOSEN,
        "gate_mean": np.where(demands > 0, CHOSEN, 0.0),
        "balance": list(scalars.values()),
    }


def assert_written(folder, ids, stops, first_step=0, losses=True):
    """One entry a tag for each stretch of batches; a stretch ends before the batch `stop`."""
    values, _ = read(folder)
    starts = [0, *stops[:-1]]
    for layer in ("same", "next"):
        for name in counted(ids[:1], layer):
            tag = f"{layer}/{name}"
            if name == "balance_loss" and not losses:
                assert tag not in values
                continue
            assert [step for step, _ in values[tag]] == [first_step + stop for stop in stops]
            for (_, value), start, stop in zip(values[tag], starts, stops, strict=True):
                expected = counted(ids[start:stop], layer)[name]
                np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6, err_msg=tag)
