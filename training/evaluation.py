"""How good a language model is, and how it used its experts."""

import statistics

import numpy as np

from moe_zoo.stats import routing_stats

from .text_dataset import evaluation_batches


def evaluate_tokens(model, tokens, characters, batch_size, sequence_length):
    """Perplexity and expert balance of a model on a stream of tokens.

    Args:
        model: compiled, with the metric `Perplexity`.
        tokens: `<int32>[tokens]`.
        characters: `int`, characters of the text.
        batch_size: `int`, windows in a batch.
        sequence_length: `int`, tokens in a window.

    Returns:
        `dict` of `perplexity`, `bits_per_character` and, for mixtures, `load_cv`,
        `dropped_fraction` and `dead_experts`.
    """
    routing_stats(model, training=False, reset=True)
    batches = evaluation_batches(tokens, batch_size, sequence_length)
    perplexity = model.evaluate(batches, verbose=0, return_dict=True)["perplexity"]
    row = {
        "perplexity": float(perplexity),
        "bits_per_character": float(np.log2(perplexity) * (len(tokens) - 1) / characters),
    }
    return row | routing_summary(model)


def routing_summary(model):
    """How the mixtures of a model used their experts in its evaluations since the last reset.

    Args:
        model: a Keras model, with mixtures or without.

    Returns:
        `dict` of `load_cv` and `dropped_fraction`, means over the layers, and `dead_experts`, their
        sum; empty without mixtures.
    """
    layers = list(routing_stats(model, training=False).values())
    if not layers:
        return {}
    return {
        "load_cv": statistics.fmean(layer.load_cv for layer in layers),
        "dropped_fraction": statistics.fmean(layer.dropped_fraction for layer in layers),
        "dead_experts": sum(len(layer.dead_experts) for layer in layers),
    }
