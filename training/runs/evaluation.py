"""Evaluation of language models, and of how models use their experts."""

import statistics
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from moe_zoo.routers import Router, TokenChoiceRouter
from moe_zoo.stats import routing_stats
from moe_zoo.training.text.text_dataset import evaluation_batches

from .progress import dropped_fraction

ROUTING_COLUMNS = {
    "load_cv": "load CV",
    "training_dropped_fraction": "dropped in training",
    "dead_experts": "dead experts",
}
LANGUAGE_MODEL_COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    "perplexity": "test perplexity",
    "bits_per_character": "bits/char",
    **ROUTING_COLUMNS,
    "tokens_per_second": "tokens/s",
}


def evaluate_tokens(
    model: keras.Model,
    tokens: np.ndarray,
    characters: int,
    batch_size: int,
    sequence_length: int,
    history: Sequence[dict[str, float]] = (),
) -> dict[str, Any]:
    """Compute perplexity and expert balance of a language model on a stream of tokens.

    Args:
        model: Compiled model with the metric `Perplexity`.
        tokens: Token ids, `<int32>[tokens]`.
        characters: Number of characters of the text.
        batch_size: Windows in a batch.
        sequence_length: Tokens in a window.
        history: Logs of each epoch of the training.

    Returns:
        `perplexity`, `bits_per_character` and the entries of `routing_summary`.
    """
    routing_stats(model, training=False, reset=True)
    batches = evaluation_batches(tokens, batch_size, sequence_length)
    perplexity = model.evaluate(batches, verbose=0, return_dict=True)["perplexity"]
    row = {
        "perplexity": float(perplexity),
        "bits_per_character": float(np.log2(perplexity) * (len(tokens) - 1) / characters),
    }
    return row | routing_summary(model, history)


def routing_summary(model: keras.Model, history: Sequence[dict[str, float]] = ()) -> dict[str, Any]:
    """Summarize how a model used its experts, in the test and in training.

    The test is all that the model has evaluated since the statistics of evaluation were reset.

    Args:
        model: Keras model, with mixtures or without.
        history: Logs of each epoch of the training.

    Returns:
        `load_cv` and `dropped_fraction`, means over the layers, `dead_experts`, their sum, and
        `dropless_test`, whether no layer had a capacity in the test. With a history also
        `training_dropped_fraction`, the mean of the last epoch. Empty without mixtures.
    """
    layers = list(routing_stats(model, training=False).values())
    if not layers:
        return {}
    summary = {
        "load_cv": statistics.fmean(layer.load_cv for layer in layers),
        "dropped_fraction": statistics.fmean(layer.dropped_fraction for layer in layers),
        "dead_experts": sum(len(layer.dead_experts) for layer in layers),
        "dropless_test": all(
            layer.dropless(training=False)
            for layer in model._flatten_layers()
            if isinstance(layer, Router)
        ),
    }
    dropped = dropped_fraction(history[-1]) if history else None
    if dropped is not None:
        summary["training_dropped_fraction"] = dropped
    return summary


def token_choice_routers(model: keras.Model) -> list[TokenChoiceRouter]:
    """Find the routers of a model whose tokens choose their experts."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, TokenChoiceRouter)]


def dropless_note(rows: Sequence[dict[str, Any]]) -> str:
    """Return the note below a result table that mixtures were tested without a capacity, if any.

    Args:
        rows: Rows of the table, each with the entries of `routing_summary`.
    """
    if not any(row.get("dropless_test") for row in rows):
        return ""
    note = "\n\nThe test ran without expert capacity, so it dropped no token."
    if any("training_dropped_fraction" in row for row in rows):
        note += " In training: the fraction of choices dropped in the last epoch."
    return note
