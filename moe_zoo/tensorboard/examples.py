"""Fixed examples, whose tokens' experts are looked at again and again."""

import functools
import json

import numpy as np

from moe_zoo.analysis import RoutedTokens
from moe_zoo.distribution.training_functions import call_function
from moe_zoo.recording import record_plans_by_metric


class RoutedExamples:
    """A few inputs of a model, with a text for each of their tokens.

    Args:
        inputs: as the model takes them: a few rows, texts or rows of a table.
        tokens: `[rows, length]` strings, the texts of the tokens, in the order of the layers'
            inputs; `""` is filling that is not shown, and lists that are shorter than the longest
            are filled up. For a table `[rows]`, a text for each row. A `dict` of such by the
            beginnings of the layers' paths, where layers see different tokens: `{"encoder": ...,
            "decoder": ...}`; layers that none begins are left out.

    Raises:
        ValueError: tokens that are not `[rows]` or `[rows, length]`.

    Example:

    >>> examples = RoutedExamples(np.array([[1, 2], [3, 0]]), [["A", "bird"], ["Fish"]])
    >>> examples.tokens[""].shape
    (2, 2)
    """

    def __init__(self, inputs, tokens):
        self.inputs = inputs
        by_path = tokens if isinstance(tokens, dict) else {"": tokens}
        self.tokens = {path: _rows(texts) for path, texts in by_path.items()}

    def tokens_of(self, path):
        """`<str>[rows, length]` that the layer of this path sees, or `None`."""
        beginnings = [start for start in self.tokens if path.startswith(start)]
        return self.tokens[max(beginnings, key=len)] if beginnings else None


class ExampleRouting:
    """Runs a model on examples, in a graph that is made once and counts in no statistics.

    Args:
        model: a built Keras model, on a mesh or not.
        examples: `RoutedExamples`.
    """

    def __init__(self, model, examples: RoutedExamples):
        self.examples = examples
        self._routed = call_function(model, functools.partial(self._step, model))

    def read(self, metrics) -> dict[str, str]:
        """The routing of the examples, in JSON.

        Args:
            metrics: `dict` of `RoutingMetric` by the names of the layers.

        Returns:
            `dict` by the same names. `{"texts": [[[piece, choices], ...], ...]}` has the tokens of
            each row with their choices, `[[expert, gate, kept], ...]`.

        Raises:
            ValueError: a layer that routes another number of tokens than there are texts for.
        """
        plans = self._routed((self.examples.inputs,))
        names = {metric: name for name, metric in metrics.items()}
        found = {}
        for (metric, path), plan in zip(self._seen, plans, strict=True):
            tokens = self.examples.tokens_of(path)
            if tokens is not None:
                found[names[metric]] = _to_json(RoutedTokens.of_plan(plan), tokens)
        return found

    def _step(self, model, batch):
        with record_plans_by_metric() as plans:
            model(batch[0], training=False)
        self._seen = list(plans)
        return list(plans.values())


def _rows(texts):
    if isinstance(texts, list) and all(isinstance(row, list) for row in texts):
        longest = max(map(len, texts), default=0)
        texts = [row + [""] * (longest - len(row)) for row in texts]
    texts = np.asarray(texts, dtype=str)
    if texts.ndim == 1:
        texts = texts[:, np.newaxis]
    if texts.ndim != 2:
        raise ValueError(
            "Expected tokens [rows, length], or [rows] of a table. Received: tokens of shape "
            f"{texts.shape}. Fill short rows up with ''."
        )
    return texts


def _to_json(routed, tokens):
    pieces = routed.by_token("tokens", tokens)
    choices = [
        [
            [expert, round(gate, 4), kept]
            for expert, gate, kept in zip(*choice, strict=True)
            if expert < routed.num_experts
        ]
        for choice in zip(
            routed.experts.tolist(), routed.gates.tolist(), routed.kept.tolist(), strict=True
        )
    ]
    length = tokens.shape[1]
    texts = [
        [
            [str(pieces[place]), choices[place]]
            for place in range(row * length, (row + 1) * length)
            if pieces[place]
        ]
        for row in range(len(tokens))
    ]
    return json.dumps({"texts": texts}, ensure_ascii=False)
