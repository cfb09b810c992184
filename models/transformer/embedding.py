"""The embedding of a language model's tokens."""

import keras
import tensorflow as tf

from moe_zoo.models.checks import check_ids
from moe_zoo.validation import check_int


@keras.saving.register_keras_serializable(package="moe_zoo")
class TokenEmbedding(keras.layers.ReversibleEmbedding):
    """Keras' embedding that refuses ids without a row, of which Keras takes -1 for the last one."""

    def call(self, inputs, reverse=False):
        if not reverse:
            if not tf.as_dtype(inputs.dtype).is_integer:
                inputs = tf.cast(inputs, tf.int32)
            inputs = check_ids(inputs, self.input_dim)
        return super().call(inputs, reverse=reverse)


def token_embedding(vocabulary_size, width, initializer=None, dtype=None, name="embedding"):
    """`<int32>[...]` -> `<float>[..., D]`, and with `reverse=True` products with all embeddings.

    Args:
        vocabulary_size: `int`, V.
        width: `int`, D.
        initializer: Keras initializer; `None` is N(0, 1), as T5 has it.
        dtype: Keras dtype policy.
        name: `str`.

    Raises:
        ValueError: a size that is not positive.
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
