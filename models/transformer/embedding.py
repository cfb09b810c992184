"""The embedding of a language model's tokens."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.models.checks import check_ids
from moe_zoo.validation import check_int, shown


class TiedEmbedding(keras.layers.Embedding):
    """The part of `keras.layers.ReversibleEmbedding` used here, for Keras before 3.12."""

    def __init__(
        self,
        *args: Any,
        tie_weights: bool = True,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.reverse_dtype = reverse_dtype

    def call(self, inputs: Any, reverse: bool = False) -> tf.Tensor:
        if not reverse:
            return super().call(inputs)
        kernel = keras.ops.transpose(self.embeddings)
        return keras.ops.matmul(
            keras.ops.cast(inputs, self.reverse_dtype), keras.ops.cast(kernel, self.reverse_dtype)
        )

    def quantize(self, mode: str, *args: Any, **kwargs: Any) -> None:
        raise ValueError(
            f"Expected a release of Keras whose embeddings can be quantized in both directions. "
            f"Received: Keras {keras.__version__}, mode={shown(mode)}. Install keras>=3.12."
        )

    def compute_output_shape(self, input_shape: tuple, reverse: bool = False) -> tuple:
        return (*input_shape[:-1], self.input_dim) if reverse else (*input_shape, self.output_dim)

    def compute_output_spec(self, inputs: Any, reverse: bool = False) -> keras.KerasTensor:
        shape = self.compute_output_shape(inputs.shape, reverse)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict:
        same = {"tie_weights": True, "logit_soft_cap": None}  # as the files of later releases have
        return {**super().get_config(), "reverse_dtype": self.reverse_dtype, **same}


@keras.saving.register_keras_serializable(package="moe_zoo")
class TokenEmbedding(getattr(keras.layers, "ReversibleEmbedding", TiedEmbedding)):  # type: ignore[misc]
    """Keras' embedding that refuses ids without a row, of which Keras takes -1 for the last one."""

    def call(self, inputs: Any, reverse: bool = False) -> tf.Tensor:
        if not reverse:
            if not tf.as_dtype(inputs.dtype).is_integer:
                inputs = tf.cast(inputs, tf.int32)
            inputs = check_ids(inputs, self.input_dim)
        return super().call(inputs, reverse=reverse)


def token_embedding(
    vocabulary_size: int,
    width: int,
    initializer: str | keras.initializers.Initializer | None = None,
    dtype: Any = None,
    name: str = "embedding",
) -> TokenEmbedding:
    """Return the embedding of tokens; with `reverse=True` it multiplies by all embeddings.

    It maps `<int32>[...]` to `<float>[..., D]`, or `<float>[..., D]` to `<float>[..., V]`.

    Args:
        vocabulary_size: `int`, V.
        width: `int`, D.
        initializer: Keras initializer; `None` is N(0, 1), as T5 has it.
        dtype: Keras dtype policy.
        name: `str`.

    Raises:
        ValueError: If a size is not positive.
    """
    if initializer is None:
        initializer = keras.initializers.RandomNormal(stddev=1.0)
    return TokenEmbedding(
        check_int("vocabulary_size", vocabulary_size, least=2),
        check_int("width", width, least=1),
        embeddings_initializer=initializer,
        reverse_dtype=keras.dtype_policies.get(dtype).compute_dtype,
        dtype=dtype,
        name=name,
    )
