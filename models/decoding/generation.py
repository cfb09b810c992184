"""Text generation in the graph: the same loop runs in Python and inside a SavedModel."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from moe_zoo.models.checks import check_options

from .prompts import Step, padding_of, ragged_prompts

LEAST_TEMPERATURE = 1e-6  # as good as 0


def sample(
    logits: tf.Tensor,
    temperature: float | tf.Tensor,
    top_k: int | tf.Tensor,
    top_p: float | tf.Tensor,
    seed: int | tf.Tensor,
) -> tf.Tensor:
    """Draw one token a row.

    First the logits are divided by the temperature, then all but the `top_k` largest are left out,
    and of these all but the nucleus: the fewest, most probable tokens whose probabilities add up to
    at least `top_p`.

    Args:
        logits: `<float32>[B, V]`.
        temperature: `<float32>[]`; 0 takes the largest.
        top_k: `<int32>[]`, how many of the largest logits may be drawn; 0 for all.
        top_p: `<float32>[]`, the nucleus' probability; 1 for all. The most probable token
            is always in.
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
    return draw(logits, temperature, top_k, top_p, uniforms(seed, tf.shape(logits)[0]))


def uniforms(seed: int | tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Draw `<float32>[rows]` from [0, 1) by a seed `<int32>[2]`."""
    return tf.random.stateless_uniform([rows], seed)


def draw(
    logits: tf.Tensor,
    temperature: float | tf.Tensor,
    top_k: int | tf.Tensor,
    top_p: float | tf.Tensor,
    chance: tf.Tensor,
) -> tf.Tensor:
    """Draw as `sample` does, by a `chance <float32>[B]` from [0, 1) of each row.

    The token is the first, from the most probable on, up to which the probabilities add up to more
    than the chance.
    """
    temperature, top_p = (tf.cast(x, tf.float32) for x in (temperature, top_p))
    size, top_k = tf.shape(logits)[-1], tf.cast(top_k, tf.int32)
    kept = tf.where(top_k > 0, tf.minimum(top_k, size), size)
    kept = tf.where(temperature > 0, kept, 1)  # greedy without sorting the vocabulary
    values, tokens = tf.math.top_k(logits, kept)
    values -= values[:, :1]  # 0 for the largest, so that dividing by next to nothing is harmless
    warm = values / tf.maximum(temperature, LEAST_TEMPERATURE)
    probabilities = tf.nn.softmax(nucleus(warm, top_p))
    total = tf.cumsum(probabilities, axis=1)
    passed = tf.reduce_sum(tf.cast(total <= chance[:, None] * total[:, -1:], tf.int32), 1)
    last = tf.math.count_nonzero(probabilities, 1, dtype=tf.int32) - 1  # whatever rounding does
    place = tf.where(temperature > 0, tf.minimum(passed, last), 0)  # the largest comes first
    return tf.gather(tokens, place, batch_dims=1)


def nucleus(logits: tf.Tensor, top_p: float | tf.Tensor) -> tf.Tensor:
    """Return logits `<float32>[B, K]`, the largest first, with -inf outside of the nucleus."""
    probabilities = tf.nn.softmax(logits)
    before = tf.cumsum(probabilities, axis=1, exclusive=True)
    first = tf.range(tf.shape(logits)[1]) == 0
    inside = (before < top_p) | first | (top_p >= 1.0)
    return tf.where(inside, logits, -float("inf"))


def generate(
    step: Step,
    states: Any,
    prompts: Any,
    max_new_tokens: int | tf.Tensor,
    temperature: float | tf.Tensor,
    top_k: int | tf.Tensor,
    top_p: float | tf.Tensor,
    seed: int | tf.Tensor,
    end: int | tf.Tensor,
    never: Sequence[int] = (),
) -> tf.RaggedTensor:
    """Continue prompts token by token with a model that keeps its state.

    Rows of different lengths run side by side: a row is fed its prompt and then its own draws. It
    ends after `max_new_tokens`, or when it draws `end`.

    Args:
        step: `step(tokens <int32>[B], states, place <int32>[]) -> (<float32>[B, V], states)`, such
            as `LSTMLanguageModel.step`: logits of what follows the token at `place`.
        states: any nest of tensors, as `initial_states` gives them for `tokens_fed` tokens.
        prompts: `<int>[B, (tokens)]`, as `ragged_prompts` takes them, at least one token a row.
        max_new_tokens: `<int32>[]`.
        temperature: `<float32>[]`, as in `sample`.
        top_k: `<int32>[]`, as in `sample`.
        top_p: `<float32>[]`, as in `sample`.
        seed: `<int32>[]`. The same seed gives the same text; each new token of a row has a chance
            of its own, whatever prompts there are and however long.
        end: `int`, the token that ends a text.
        never: list of `int`, tokens that are never drawn.

    Returns:
        `<int32>[B, (tokens)]`, ragged: prompts and what follows them, without the end token.

    Raises:
        ValueError: If an option is out of its limits (see `check_options`), a prompt is empty or,
            where `step` is a method of a model with a `pad_id`, padding alone; within a graph
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
    prompts = ragged_prompts(prompts, padding_of(step))
    max_new_tokens = tf.cast(max_new_tokens, tf.int32)
    lengths = tf.cast(prompts.row_lengths(), tf.int32)
    given = to_dense(prompts, least=1)  # [B, P]
    longest = tf.shape(given)[1]
    total = longest + max_new_tokens
    most = tf.maximum(max_new_tokens, 1)
    chances = tf.map_fn(  # [most, B]; not of all at once, so that more tokens change no earlier one
        lambda number: uniforms(tf.stack([tf.cast(seed, tf.int32), number]), tf.shape(given)[0]),
        tf.range(most),
        fn_output_signature=tf.TensorSpec([None], tf.float32),
    )
    chances = tf.transpose(chances)
    written = tf.TensorArray(tf.int32, size=total, element_shape=[None]).write(0, given[:, 0])

    def turn(
        place: tf.Tensor, written: tf.Tensor, token: tf.Tensor, states: Any, ends: tf.Tensor
    ) -> tuple:
        logits, following = step(token, states, place - 1)
        states = like(states, following)
        number = tf.clip_by_value(place - lengths, 0, most - 1)  # of new tokens before
        chance = tf.gather(chances, number, batch_dims=1)
        drawn = draw(logits - forbidden(logits, never), temperature, top_k, top_p, chance)
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


def tokens_fed(prompts: tf.RaggedTensor, max_new_tokens: int | tf.Tensor) -> tf.Tensor:
    """Return how many tokens of a row are fed at most, all but the last one drawn: `<int32>[]`."""
    lengths = ragged_prompts(prompts).row_lengths()
    longest = tf.reduce_max(tf.cast(lengths, tf.int32))  # -2^31 of an empty batch
    return tf.maximum(tf.maximum(longest, 1) + tf.cast(max_new_tokens, tf.int32) - 1, 1)


def forbidden(logits: tf.Tensor, never: Sequence[int]) -> tf.Tensor:
    """Return what to subtract from logits so that no token of `never` is drawn: `<float32>[V]`."""
    never = tf.constant(never, tf.int32, [len(never)])
    return tf.reduce_sum(tf.one_hot(never, tf.shape(logits)[-1], 1e9, 0.0), 0)


def like(before: Any, after: Any) -> Any:
    """Return the states after a step, with the known shapes of those before it."""
    return tf.nest.map_structure(lambda x, y: tf.ensure_shape(y, x.shape), before, after)


def to_dense(ragged: tf.RaggedTensor, least: Any, fill: Any = 0) -> tf.Tensor:
    """Pad `<int32>[B, (T)]` to `<int32>[B, max(T, least)]` with `fill`; B may be 0."""
    dense = ragged.to_tensor(fill)
    missing = tf.maximum(least - tf.shape(dense)[1], 0)
    return tf.pad(dense, [[0, 0], [0, missing]], constant_values=fill)
