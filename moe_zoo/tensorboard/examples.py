"""Fixed examples, whose tokens' experts are looked at again and again."""

import functools
import json

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.analysis import RoutedTokens
from moe_zoo.recording import record_plans_by_metric
from moe_zoo.validation import shown


class RoutedExamples:
    """A few inputs of a model, with a text for each of their tokens.

    Args:
        inputs: as the model takes them: a few rows, texts or rows of a table.
        tokens: `[rows, length]` strings, the texts of the tokens, in the order of the layers'
            inputs; `""` is filling that is not shown, and lists that are shorter than the longest
            are filled up. For a table `[rows]`, a text for each row. Where layers see different
            tokens, a `dict` of such by the names of layers, or of those that hold them:
            `{"encoder": ..., "decoder": ...}`; other layers are left out.

    A layer that is called several times shows its last call.

    Raises:
        ValueError: tokens that are not `[rows]` or `[rows, length]`, or not of the inputs' rows.

    Example:

    >>> examples = RoutedExamples(np.array([[1, 2], [3, 0]]), [["A", "bird"], ["Fish"]])
    >>> examples.tokens[""].shape
    (2, 2)
    """

    def __init__(self, inputs, tokens):
        self.inputs = inputs
        by_layer = tokens if isinstance(tokens, dict) else {"": tokens}
        self.tokens = {name: _as_rows(texts) for name, texts in by_layer.items()}
        count = np.shape(keras.tree.flatten(inputs)[0])[0]
        if wrong := [len(texts) for texts in self.tokens.values() if len(texts) != count]:
            raise ValueError(
                f"Expected tokens of {count} rows, as the inputs have. Received: tokens of "
                f"{wrong[0]} rows. Give a list of tokens for each row."
            )

    def name_for(self, path):
        """The key of the tokens that the layer of this path sees, or `None`: the innermost."""
        names = ["", *path.split("/")]
        return next((name for name in reversed(names) if name in self.tokens), None)


class ExampleRouting:
    """Runs a model on examples, in a graph that is made once and counts in no statistics.

    Args:
        model: a built Keras model, on a mesh or not.
        examples: `RoutedExamples`.
    """

    def __init__(self, model, examples: RoutedExamples):
        self.examples = examples
        step = functools.partial(self._step, model)
        mesh = getattr(model, "expert_parallel", None)
        if mesh is None:
            self._routed = tf.function(step, autograph=False)
        else:
            self._routed = mesh.whole_batch_function(step)

    def read(self, metrics) -> dict[str, str]:
        """The routing of the examples, in JSON.

        Args:
            metrics: `dict` of `RoutingMetric` by the names of the layers.

        Returns:
            `dict` by the same names. `{"texts": [[[piece, choices], ...], ...]}` has the tokens of
            each row with their choices, `[[expert, gate, kept], ...]`.

        Raises:
            ValueError: a layer that routes another number of tokens than there are texts for, or
                texts for a layer that there is not.
        """
        plans = self._routed((self.examples.inputs,))
        names = {metric: name for name, metric in metrics.items()}
        found, used = {}, set()
        for (metric, path), plan in zip(self._seen, plans, strict=True):
            name = self.examples.name_for(path)
            if name is not None:
                used.add(name)
                tokens = self.examples.tokens[name]
                found[names[metric]] = _to_json(RoutedTokens.of_plan(plan), tokens)
        if unused := set(self.examples.tokens) - used:
            raise ValueError(
                "Expected tokens by names of layers, or of those that hold them. Received: "
                f"{sorted(unused)}, beside layers at {[path for _, path in self._seen]}. Take "
                "parts of these."
            )
        return found

    def _step(self, model, batch):
        with record_plans_by_metric() as plans:
            model(batch[0], training=False)
        self._seen = list(plans)
        return list(plans.values())


def _as_rows(texts):
    """`<str>[rows, length]` of arrays, tensors or lists of text or UTF-8 bytes."""
    if hasattr(texts, "to_list"):  # ragged
        texts = texts.to_list()
    elif hasattr(texts, "numpy") or isinstance(texts, np.ndarray):
        texts = np.asarray(texts).tolist()
    rows = [row if isinstance(row, list | tuple) else [row] for row in texts]
    longest = max(map(len, rows), default=0)
    rows = [[_as_text(text) for text in row] + [""] * (longest - len(row)) for row in rows]
    return np.array(rows, dtype=str).reshape(len(rows), longest)


def _as_text(text):
    if isinstance(text, bytes):
        return text.decode("utf-8", "replace")
    if isinstance(text, str):
        return text
    raise ValueError(
        f"Expected tokens [rows, length] of text, or [rows] of a table. Received: {shown(text)} as "
        "the text of a token. Give a string for each."
    )


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
