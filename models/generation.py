"""Text generation in the graph: the same loop runs in Python and inside a SavedModel."""

import tensorflow as tf

from moe_zoo.models.checks import check_options

LEAST_TEMPERATURE = 1e-6  # as good as 0


def sample(logits, temperature, top_k, top_p, seed):
    """Draw one token a row.

    First the logits are divided by the temperature, then all but the `top_k` largest are left out,
    and of these all but the nucleus: the fewest likeliest tokens whose probabilities add up to at
    least `top_p`.

    Args:
        logits: `<float32>[B, V]`.
        temperature: `<float32>[]`; 0 takes the largest.
        top_k: `<int32>[]`, how many of the largest logits may be drawn; 0 for all.
        top_p: `<float32>[]`, the nucleus' probability; 1 for all. The likeliest token is always in.
        seed: `<int32>[2]`.

    Returns:
        `<int32>[B]`.

    Example:

    >>> logits = tf.math.log([[0.5, 0.25, 0.15, 0.1]] * 1000)
    >>> drawn = sample(logits, 1.0, 0, 0.7, [1, 2])
    >>> sorted(set(drawn.numpy().tolist()))
    [0, 1]

    Reference: Holtzman et al., ICLR 2020, arXiv 1904.09751, section 3.1 (`top_p`).
    """
    size = tf.shape(logits)[-1]
    kept = tf.where(top_k > 0, tf.minimum(top_k, size), size)
    kept = tf.where(temperature > 0, kept, 1)  # greedy without sorting the vocabulary
    values, tokens = tf.math.top_k(logits, kept)
    values -= values[:, :1]  # 0 for the largest, so that dividing by next to nothing is harmless
    warm = values / tf.maximum(temperature, LEAST_TEMPERATURE)
    drawn = tf.random.stateless_categorical(nucleus(warm, top_p), 1, seed, dtype=tf.int32)
    place = tf.where(temperature > 0, drawn, 0)  # top_k sorts: the largest comes first
    return tf.gather(tokens, place[:, 0], batch_dims=1)


def nucleus(logits, top_p):
    """Logits `<float32>[B, K]`, the largest first; -inf outside of the nucleus of `top_p`."""
    probabilities = tf.nn.softmax(logits)
    before = tf.cumsum(probabilities, axis=1, exclusive=True)
    first = tf.range(tf.shape(logits)[1]) == 0
    inside = (before < top_p) | first | (top_p >= 1.0)
    return tf.where(inside, logits, -float("inf"))


def generate(step, states, prompts, max_new_tokens, temperature, top_k, top_p, seed, end, never=()):
    """Continue prompts token by token with a model that keeps its state.

    Rows of different lengths run side by side: a row is fed its prompt and then its own draws. It
    ends after `max_new_tokens`, or when it draws `end`.

    Args:
        step: `step(tokens <int32>[B], states, place <int32>[]) -> (<float32>[B, V], states)`, such
            as `LSTMLanguageModel.step`: logits of what follows the token at `place`.
        states: any nest of tensors, as `initial_states` gives them for `tokens_fed` tokens.
        prompts: `<int32>[B, (tokens)]`, ragged, at least one token a row.
        max_new_tokens: `<int32>[]`.
        temperature: `<float32>[]`, as in `sample`.
        top_k: `<int32>[]`, as in `sample`.
        top_p: `<float32>[]`, as in `sample`.
        seed: `<int32>[]`. The same seed gives the same text.
        end: `int`, the token that ends a text.
        never: list of `int`, tokens that are never drawn.

    Returns:
        `<int32>[B, (tokens)]`, ragged: prompts and what follows them, without the end token.

    Raises:
        ValueError: If an option is out of its limits (see `check_options`), or within a graph
            `tf.errors.InvalidArgumentError` when it runs.

    Example, with a model in which t + 1 follows t:

    >>> count = lambda tokens, states, place: (tf.one_hot(tokens + 1, 10), states)
    >>> prompts = tf.ragged.constant([[4], [2, 6]])
    >>> generate(count, [], prompts, 3, 0.0, 0, 1.0, 0, end=8).to_list()
    [[4, 5, 6, 7], [2, 6, 7]]
    """
    max_new_tokens, temperature, top_k, top_p = check_options(
        max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p
    ).values()
    lengths = tf.cast(prompts.row_lengths(), tf.int32)
    given = to_dense(prompts, least=1)  # [B, P]
    longest = tf.shape(given)[1]
    total = longest + max_new_tokens
    written = tf.TensorArray(tf.int32, size=total, element_shape=[None]).write(0, given[:, 0])

    def turn(place, written, token, states, ends):
        logits, following = step(token, states, place - 1)
        states = like(states, following)
        seeds = tf.stack([seed, place])
        drawn = sample(logits - forbidden(logits, never), temperature, top_k, top_p, seeds)
        prompted = place < lengths
        token = tf.where(prompted, given[:, tf.minimum(place, longest - 1)], drawn)
        finished = tf.logical_and(~prompted, tf.equal(token, end))
        ends = tf.where(finished, tf.minimum(ends, place), ends)
        return place + 1, written.write(place, token), token, states, ends

    reached, written, _, _, ends = tf.while_loop(
        lambda place, *loop: tf.logical_and(place < total, tf.reduce_any(place < loop[-1])),
        turn,
        (1, written, given[:, 0], states, lengths + max_new_tokens),
    )
    tokens = tf.transpose(written.gather(tf.range(reached)))  # [B, reached], all may end early
    return tf.RaggedTensor.from_tensor(tokens, lengths=tf.minimum(ends, reached))


def tokens_fed(prompts, max_new_tokens):
    """`<int32>[]`, how many tokens of a row a model is fed at most: all but the last one drawn."""
    longest = tf.reduce_max(tf.cast(prompts.row_lengths(), tf.int32))  # -2^31 of an empty batch
    return tf.maximum(tf.maximum(longest, 1) + max_new_tokens - 1, 1)


def forbidden(logits, never):
    """`<float32>[V]`, what to take off the logits so that no token of `never` is drawn."""
    never = tf.constant(never, tf.int32, [len(never)])
    return tf.reduce_sum(tf.one_hot(never, tf.shape(logits)[-1], 1e9, 0.0), 0)


def like(before, after):
    """The states after a step, with all that is known of the shapes of those before it."""
    return tf.nest.map_structure(lambda x, y: tf.ensure_shape(y, x.shape), before, after)


def to_dense(ragged, least, fill=0):
    """`<int32>[B, (T)]` -> `<int32>[B, max(T, least)]`, filled up with `fill`; B may be 0."""
    dense = ragged.to_tensor(fill)
    missing = tf.maximum(least - tf.shape(dense)[1], 0)
    return tf.pad(dense, [[0, 0], [0, missing]], constant_values=fill)
