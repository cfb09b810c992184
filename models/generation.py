"""Text generation in the graph: the same loop runs in Python and inside a SavedModel."""

import tensorflow as tf

LEAST_TEMPERATURE = 1e-6  # as good as 0


def sample(logits, temperature, top_k, seed):
    """Draw one token a row.

    Args:
        logits: `<float32>[B, V]`.
        temperature: `<float32>[]`, which divides the logits; 0 takes the largest.
        top_k: `<int32>[]`, how many of the largest logits may be drawn; 0 for all.
        seed: `<int32>[2]`.

    Returns:
        `<int32>[B]`.
    """
    size = tf.shape(logits)[-1]
    kept = tf.where(top_k > 0, tf.minimum(top_k, size), size)
    values, tokens = tf.math.top_k(logits, kept)
    values -= values[:, :1]  # 0 for the largest, so that dividing by next to nothing is harmless
    warm = values / tf.maximum(temperature, LEAST_TEMPERATURE)
    drawn = tf.random.stateless_categorical(warm, 1, seed, dtype=tf.int32)
    place = tf.where(temperature > 0, drawn, 0)  # top_k sorts: the largest comes first
    return tf.gather(tokens, place[:, 0], batch_dims=1)


def generate(model, prompts, max_new_tokens, temperature, top_k, seed, end, never):
    """Continue prompts token by token with a model that keeps its state.

    Rows of different lengths run side by side: a row is fed its prompt and then its own draws. It
    ends after `max_new_tokens`, or when it draws `end`.

    Args:
        model: has `initial_states(batch_size)` and `step(tokens, states)`, as `LSTMLanguageModel`.
        prompts: `<int32>[B, (tokens)]`, ragged, at least one token a row.
        max_new_tokens: `<int32>[]`.
        temperature: `<float32>[]`, as in `sample`.
        top_k: `<int32>[]`, as in `sample`.
        seed: `<int32>[]`. The same seed gives the same text.
        end: `int`, the token that ends a text.
        never: list of `int`, tokens that are never drawn.

    Returns:
        `<int32>[B, (tokens)]`, ragged: prompts and what follows them, without the end token.
    """
    lengths = tf.cast(prompts.row_lengths(), tf.int32)
    longest = tf.maximum(tf.reduce_max(lengths), 1)  # a batch may be empty
    given = to_dense(prompts, least=1)  # [B, P]
    batch = tf.shape(given)[0]
    never = tf.constant(never, tf.int32, [len(never)])
    forbidden = tf.reduce_sum(tf.one_hot(never, model.vocabulary_size, 1e9, 0.0), 0)
    total = longest + max_new_tokens
    written = tf.TensorArray(tf.int32, size=total, element_shape=[None]).write(0, given[:, 0])

    def turn(place, written, token, states, ends):
        logits, states = model.step(token, states)
        drawn = sample(logits - forbidden, temperature, top_k, tf.stack([seed, place]))
        prompted = place < lengths
        token = tf.where(prompted, given[:, tf.minimum(place, longest - 1)], drawn)
        finished = tf.logical_and(~prompted, tf.equal(token, end))
        ends = tf.where(finished, tf.minimum(ends, place), ends)
        return place + 1, written.write(place, token), token, states, ends

    reached, written, _, _, ends = tf.while_loop(
        lambda place, *loop: tf.logical_and(place < total, tf.reduce_any(place < loop[-1])),
        turn,
        (1, written, given[:, 0], model.initial_states(batch), lengths + max_new_tokens),
    )
    tokens = tf.transpose(written.gather(tf.range(reached)))  # [B, reached], all may end early
    return tf.RaggedTensor.from_tensor(tokens, lengths=tf.minimum(ends, reached))


def to_dense(ragged, least):
    """`<int32>[B, (T)]` -> `<int32>[B, max(T, least)]`, filled up with 0; B may be 0."""
    dense = ragged.to_tensor()
    missing = tf.maximum(least - tf.shape(dense)[1], 0)
    return tf.pad(dense, [[0, 0], [0, missing]])
