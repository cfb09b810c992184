"""Experts of different forms in one mixture."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.parts import take_parts
from moe_zoo.plans import Layout
from moe_zoo.validation import shown

from .experts import Experts


@keras.saving.register_keras_serializable(package="moe_zoo")
class HeterogeneousExperts(Experts):
    """Experts of different forms with one output width, numbered in the order given.

    `E_e(x)` is that of the part to which e belongs: of the first for `e < E_1`, of the second for
    `E_1 <= e < E_1 + E_2`, and so on.

    Args:
        parts: experts, such as `[MLPExperts(4, (16,)), MLPExperts(2, (64, 16))]`.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Raises:
        ValueError: If there are no parts, a part is given twice or belongs to another layer, or
            output widths differ.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts, MLPExperts
    >>> experts = HeterogeneousExperts([MLPExperts(4, (8,)), FeedForwardExperts(2, 32)])
    >>> experts.num_experts, tuple(experts(keras.random.normal((6, 5, 8))).shape)
    (6, (6, 5, 8))
    """

    def __init__(self, parts: Sequence[Experts], name: str | None = None, **kwargs: Any):
        if not parts or not all(isinstance(part, Experts) for part in parts):
            raise ValueError(
                f"Expected a list of experts. Received: parts={shown(parts)}. Give it such as "
                "[MLPExperts(4, (16,)), MLPExperts(2, (64, 16))]."
            )
        super().__init__(sum(part.num_experts for part in parts), name=name, **kwargs)
        self.parts = list(parts)
        take_parts(self, **{f"parts[{i}]": part for i, part in enumerate(parts)})

    def build(self, input_shape: tuple) -> None:
        widths = [part.compute_output_shape((None, input_shape[-1]))[-1] for part in self.parts]
        if len(set(widths)) > 1:
            raise ValueError(
                "Expected experts of one output width. Received: parts of the widths "
                f"{', '.join(map(str, widths))} for inputs of {input_shape[-1]}. Change the units "
                "of their last layer."
            )
        for part in self.parts:
            if not part.built:  # a revived part comes built
                part.build((None, input_shape[-1]))

    def compute(self, rows: tf.Tensor, layout: Layout, training: bool) -> tf.Tensor:
        def part(number: int, rows: tf.Tensor, layout: Layout) -> tf.Tensor:
            return self.parts[number](rows, layout=layout, training=training)

        return layout.by_part(rows, [part.num_experts for part in self.parts], part)

    def compute_output_shape(self, rows_shape: tuple) -> tuple:
        return self.parts[0].compute_output_shape(rows_shape)

    def get_config(self) -> dict:
        config = super().get_config()
        del config["num_experts"]
        return {**config, "parts": [keras.saving.serialize_keras_object(x) for x in self.parts]}

    @classmethod
    def from_config(cls, config: dict) -> Any:
        parts = [keras.saving.deserialize_keras_object(part) for part in config["parts"]]
        return cls(**{**config, "parts": parts})
