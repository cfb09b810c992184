"""How good a language model is, and how it used its experts."""

import statistics

import numpy as np

from moe_zoo.routers import TokenChoiceRouter
from moe_zoo.stats import routing_stats
from moe_zoo.training.text.text_dataset import evaluation_batches


def evaluate_tokens(model, tokens, characters, batch_size, sequence_length, history=()):
    """Perplexity and expert balance of a model on a stream of tokens.

    Args:
        model: compiled, with the metric `Perplexity`.
        tokens: `<int32>[tokens]`.
        characters: `int`, characters of the text.
        batch_size: `int`, windows in a batch.
        sequence_length: `int`, tokens in a window.
        history: `list` of the logs of each epoch of the training.

    Returns:
        `dict` of `perplexity`, `bits_per_character` and what `routing_summary` gives.
    """
    routing_stats(model, training=False, reset=True)
    batches = evaluation_batches(tokens, batch_size, sequence_length)
    perplexity = model.evaluate(batches, verbose=0, return_dict=True)["perplexity"]
    row = {
        "perplexity": float(perplexity),
        "bits_per_character": float(np.log2(perplexity) * (len(tokens) - 1) / characters),
    }
    return row | routing_summary(model, history)


def routing_summary(model, history=()):
    """How the mixtures of a model used their experts, in the test and in training.

    The test is what the model evaluated since the statistics of evaluation were reset.

    Args:
        model: a Keras model, with mixtures or without.
        history: `list` of the logs of each epoch of the training.

    Returns:
        `dict` of `load_cv` and `dropped_fraction`, means over the layers, `dead_experts`, their
        sum, and `dropless_test`, whether no layer had a capacity in the test; empty without
        mixtures. With a history `training_dropped_fraction` too, the mean of the last epoch.
    """
    layers = list(routing_stats(model, training=False).values())
    if not layers:
        return {}
    routers = [x for x in model._flatten_layers() if isinstance(x, TokenChoiceRouter)]
    summary = {
        "load_cv": statistics.fmean(layer.load_cv for layer in layers),
        "dropped_fraction": statistics.fmean(layer.dropped_fraction for layer in layers),
        "dead_experts": sum(len(layer.dead_experts) for layer in layers),
        "dropless_test": all(router.dropless(training=False) for router in routers),
    }
    dropped = [
        value
        for name, value in (history[-1] if history else {}).items()
        if name.endswith("_dropped_fraction") and not name.startswith("val_")
    ]
    if dropped:
        summary["training_dropped_fraction"] = statistics.fmean(dropped)
    return summary


def dropless_note(rows):
    """Say below a table of results that mixtures were tested without a capacity, or nothing.

    Args:
        rows: `list` of `dict`, with what `routing_summary` gives of each model.
    """
    if not any(row.get("dropless_test") for row in rows):
        return ""
    note = "\n\nThe test ran without expert capacity, so it dropped no token."
    if any("training_dropped_fraction" in row for row in rows):
        note += " In training: the share of choices without a slot in the last epoch."
    return note
