"""The embedding of a Transformer's tokens."""

import keras

from moe_zoo.validation import check_int


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
    return keras.layers.ReversibleEmbedding(
        check_int("vocabulary_size", vocabulary_size, least=2),
        check_int("width", width, least=1),
        embeddings_initializer=initializer,
        reverse_dtype=keras.dtype_policies.get(dtype).compute_dtype,
        dtype=dtype,
        name=name,
    )
