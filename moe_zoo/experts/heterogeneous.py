"""Experts of different forms in one mixture."""

import keras
import tensorflow as tf

from moe_zoo.constrain import BESIDE, constrain
from moe_zoo.parts import take_parts
from moe_zoo.plans.plan import EVERY_ROW
from moe_zoo.validation import shown

from .experts import Experts
from .grouped_matmul import refused_by_xla


@keras.saving.register_keras_serializable(package="moe_zoo")
class HeterogeneousExperts(Experts):
    """Experts of different forms with one output width, numbered in the order given.

    `E_e(x)` is that of the part to which e belongs: of the first for `e < E_1`, of the second for
    `E_1 <= e < E_1 + E_2`, and so on.

    Args:
        parts: experts, such as `[MLPExperts(4, (16,)), MLPExperts(2, (64, 16))]`.
        **kwargs: `name`, `dtype`.

    Raises:
        ValueError: no parts, parts of another layer or twice, or output widths that differ.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts, MLPExperts
    >>> experts = HeterogeneousExperts([MLPExperts(4, (8,)), FeedForwardExperts(2, 32)])
    >>> experts.num_experts, tuple(experts(keras.random.normal((6, 5, 8))).shape)
    (6, (6, 5, 8))
    """

    def __init__(self, parts, **kwargs):
        if not parts or not all(isinstance(part, Experts) for part in parts):
            raise ValueError(
                f"Expected a list of experts. Received: parts={shown(parts)}. Give it such as "
                "[MLPExperts(4, (16,)), MLPExperts(2, (64, 16))]."
            )
        super().__init__(sum(part.num_experts for part in parts), **kwargs)
        self.parts = list(parts)
        take_parts(self, **{f"parts[{i}]": part for i, part in enumerate(parts)})

    def build(self, input_shape):
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

    def compute(self, slots, counts, training):
        sizes = [part.num_experts for part in self.parts]
        if counts is None or counts is EVERY_ROW:
            whole = [] if counts is None else [BESIDE]  # a mesh can neither split nor join experts
            axis = len(whole)
            given = [slots] * len(sizes)
            if len(slots.shape) == 3:  # [E, M, D], or [M, E, D] with EVERY_ROW
                given = tf.split(constrain(slots, *whole), sizes, axis)
            each = zip(self.parts, given, strict=True)
            outputs = [part(x, counts=counts, training=training) for part, x in each]
            return constrain(tf.concat([constrain(x, *whole) for x in outputs], axis), *whole)
        counts = tf.split(refused_by_xla(counts), sizes)
        rows = [tf.reduce_sum(part_counts) for part_counts in counts]
        spare = tf.shape(slots, counts[0].dtype)[0] - tf.add_n(rows)  # rows past the last expert's
        given = tf.split(slots, tf.stack([*rows, spare]))[:-1]
        sorted_rows = zip(self.parts, given, counts, strict=True)
        outputs = [part(x, counts=n, training=training) for part, x, n in sorted_rows]
        return tf.pad(tf.concat(outputs, 0), [[0, spare], [0, 0]])

    def compute_output_shape(self, slots_shape, counts_shape=None):
        return self.parts[0].compute_output_shape(slots_shape)

    def get_config(self):
        config = super().get_config()
        del config["num_experts"]
        return {**config, "parts": [keras.saving.serialize_keras_object(x) for x in self.parts]}

    @classmethod
    def from_config(cls, config):
        parts = [keras.saving.deserialize_keras_object(part) for part in config["parts"]]
        return cls(**{**config, "parts": parts})
