"""Transformer models small enough to be tested, with random weights."""

import keras
import numpy as np

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.models import TransformerClassifier, TransformerLanguageModel, TransformerSeq2Seq
from moe_zoo.models.transformer import Attention, FeedForward, RelativePositions, RotaryPositions
from moe_zoo.routers import SwitchRouter

V, CLASSES, D, F, E, B, S, T = 23, 5, 12, 11, 3, 2, 7, 5
DROPLESS = {"capacity_factor": None, "eval_capacity_factor": None}
ROOMY = {"capacity_factor": E, "eval_capacity_factor": E}  # a slot for every token
POSITIONS = {"relative": RelativePositions(8, 20), "rotary": RotaryPositions(13.0)}
KINDS = ["language_model", "classifier", "seq2seq"]


def mixture(router=None, **options):
    return MoE(router or SwitchRouter(jitter=0.0, **ROOMY), FeedForwardExperts(E, F), **options)


SHORT = {"layers": 1, "num_decoder_layers": 1, "moe_every": 1}  # where compiling takes long


def make(kind="language_model", kv_heads=None, random=True, layers=2, **options):
    """A model; `random` draws every weight anew, norms and biases included."""
    options = {"moe": mixture(), **options}
    parts = (Attention(2, 6, kv_heads), FeedForward(F))
    if kind != "seq2seq":
        options.pop("num_decoder_layers", None)
    if kind == "language_model":
        model = TransformerLanguageModel(V, D, layers, *parts, **options)
    elif kind == "classifier":
        model = TransformerClassifier(V, CLASSES, D, layers, *parts, **options)
    else:
        options = {"num_decoder_layers": 3, **options}
        model = TransformerSeq2Seq(V, D, layers, *parts, **options)
    return randomize(model) if random else model


def randomize(model, seed=1):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        size = 1.0 if "embedding" in weight.path else 0.5
        weight.assign(rng.normal(size=weight.shape) * size + ("norm/scale" in weight.path))
    return model


def tokens(length=T, seed=2, batch=B):
    """No padding among them."""
    return np.random.default_rng(seed).integers(1, V, (batch, length)).astype("int32")


def inputs(kind, batch=B, seed=2):
    if kind == "seq2seq":
        return {"source": tokens(S, seed, batch), "target": tokens(T, seed + 1, batch)}
    return tokens(T, seed, batch)


def labels(kind, batch=B):
    classes = np.arange(batch, dtype="int32") % CLASSES
    return classes if kind == "classifier" else tokens(T, 5, batch)


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def one_by_one(model, kind, given, length=None):
    """Logits by `initial_states` and `step`."""
    if kind == "seq2seq":
        states = model.initial_states(given["source"], length or T)
        given = given["target"]
    else:
        states = model.initial_states(given.shape[0], length or T)
    found = []
    for t in range(given.shape[1]):
        logits, states = model.step(given[:, t], states, t)
        found.append(logits.numpy())
    return np.stack(found, 1)
