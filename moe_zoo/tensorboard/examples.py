"""Fixed examples whose routing is written again and again."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.analysis.routing import RoutedTokens
from moe_zoo.scopes import record_plans_by_metric
from moe_zoo.stats import RoutingMetric
from moe_zoo.validation import shown


class RoutedExamples:
    """A few inputs of a model, with a text for each of their tokens.

    Args:
        inputs: Inputs of the model: a few rows, texts or rows of a table.
        tokens: `[rows, length]` strings, the texts of the tokens, in the order of the layers'
            inputs; `""` is padding that is not shown, and shorter lists are padded. For a table
            `[rows]`, a text for each row. If layers see different tokens, a `dict` of such by the
            names of layers, or of those that hold them, such as `{"encoder": ..., "decoder":
            ...}`; other layers are left out.

    A layer that is called several times shows its last call.

    Raises:
        ValueError: If the tokens are not `[rows]` or `[rows, length]`, or have other rows than the
            inputs.

    Example:

    >>> examples = RoutedExamples(np.array([[1, 2], [3, 0]]), [["A", "bird"], ["Fish"]])
    >>> examples.tokens[""].shape
    (2, 2)
    """

    def __init__(self, inputs: Any, tokens: Any):
        self.inputs = inputs
        by_layer = tokens if isinstance(tokens, dict) else {"": tokens}
        self.tokens = {name: _as_rows(texts) for name, texts in by_layer.items()}
        count = np.shape(keras.tree.flatten(inputs)[0])[0]
        if wrong := [len(texts) for texts in self.tokens.values() if len(texts) != count]:
            raise ValueError(
                f"Expected tokens of {count} rows, as the inputs have. Received: tokens of "
                f"{wrong[0]} rows. Give a list of tokens for each row."
            )

    def name_for(self, path: str) -> str | None:
        """Return the key of the tokens that a layer sees, the innermost, or `None`.

        Args:
            path: Path of the layer.
        """
        names = ["", *path.split("/")]
        return next((name for name in reversed(names) if name in self.tokens), None)


class ExampleRouting:
    """Runs a model on examples in a graph that is made once and counts in no statistics.

    Args:
        model: A built Keras model, on a mesh or not.
        examples: The examples.
    """

    def __init__(self, model: keras.Model, examples: RoutedExamples):
        self.examples = examples
        step = functools.partial(self._step, model)
        mesh = getattr(model, "expert_parallel", None)
        if mesh is None:
            self._routed = tf.function(step, autograph=False)
        else:
            self._routed = mesh.batches.whole_batch_function(step)

    def read(self, metrics: Mapping[str, RoutingMetric]) -> dict[str, str]:
        """Return the routing of the examples, in JSON.

        Args:
            metrics: Metrics by the names of the layers.

        Returns:
            Texts by the same names. `{"texts": [[[piece, choices], ...], ...]}` has the tokens of
            each row with their choices, `[[expert, gate, kept], ...]`.

        Raises:
            ValueError: If a layer routes another number of tokens than there are texts, or there
                are texts for a layer that does not exist.
        """
        plans = self._routed((self.examples.inputs,))
        names = {metric: name for name, metric in metrics.items()}
        routing, used = {}, set()
        for (metric, path), plan in zip(self._seen, plans, strict=True):
            name = self.examples.name_for(path)
            if name is not None:
                used.add(name)
                tokens = self.examples.tokens[name]
                routing[names[metric]] = _to_json(RoutedTokens.of_plan(plan), tokens)
        if unused := set(self.examples.tokens) - used:
            raise ValueError(
                "Expected tokens by names of layers, or of those that hold them. Received: "
                f"{sorted(unused)}, for layers at {[path for _, path in self._seen]}. Take "
                "parts of these."
            )
        return routing

    def _step(self, model: keras.Model, batch: Any) -> list[Any]:
        with record_plans_by_metric() as plans:
            model(batch[0], training=False)
        self._seen = list(plans)
        return list(plans.values())


def _as_rows(texts: Any) -> np.ndarray:
    """Return `<str>[rows, length]` of arrays, tensors or lists of text or UTF-8 bytes."""
    if hasattr(texts, "to_list"):  # ragged
        texts = texts.to_list()
    elif hasattr(texts, "numpy") or isinstance(texts, np.ndarray):
        texts = np.asarray(texts).tolist()
    rows = [row if isinstance(row, list | tuple) else [row] for row in texts]
    longest = max(map(len, rows), default=0)
    rows = [[_as_text(text) for text in row] + [""] * (longest - len(row)) for row in rows]
    return np.array(rows, dtype=str).reshape(len(rows), longest)


def _as_text(text: Any) -> str:
    if isinstance(text, bytes):
        return text.decode("utf-8", "replace")
    if isinstance(text, str):
        return text
    raise ValueError(
        f"Expected tokens [rows, length] of text, or [rows] of a table. Received: {shown(text)} as "
        "the text of a token. Give a string for each."
    )


def _to_json(routed: RoutedTokens, tokens: np.ndarray) -> str:
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
