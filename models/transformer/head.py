"""Logits of the next token from the last states."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_number


@keras.saving.register_keras_serializable(package="moe_zoo")
class Scale(keras.layers.Layer):
    """`factor * x`, without the mask of x: which tokens count in a loss its weights shall say.

    Args:
        factor: `float`.
        **kwargs: `name`, `dtype`.
    """

    def __init__(self, factor: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor = check_number("factor", factor)

    def call(self, inputs: Any) -> tf.Tensor:
        return inputs * keras.ops.cast(self.factor, inputs.dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "factor": self.factor}


class Head:
    """Logits from states `<float>[..., D]`, by the embedding transposed or by weights of their own.

    `(D^-1/2 x) E^T` with the embedding E, or `x W` (T5: only the first has the factor). No layer of
    its own, so that the embedding stays the model's.

    Args:
        embedding: `keras.layers.ReversibleEmbedding`, built or not.
        tied: `bool`.
        dtype: Keras dtype policy.
    """

    def __init__(self, embedding: keras.layers.Layer, tied: bool, dtype: Any):
        self.embedding = embedding
        factor = embedding.output_dim**-0.5 if tied else 1.0
        self.scale = Scale(factor, dtype=dtype, name="head_scale")
        self.dense = None
        if not tied:
            self.dense = keras.layers.Dense(
                embedding.input_dim,
                use_bias=False,
                kernel_initializer=keras.initializers.VarianceScaling(1.0, "fan_in"),
                dtype=dtype,
                name="head",
            )

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        x = self.scale(x)
        return self.embedding(x, reverse=True) if self.dense is None else self.dense(x)
