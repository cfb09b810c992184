"""Beam search in the graph: the same loop runs in Python and inside a SavedModel."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from moe_zoo.models.checks import check_options

from .generation import forbidden, like, to_dense
from .prompts import Step, padding_of, ragged_prompts

NONE = -float("inf")  # the score of a beam or a text that there is not


class Beams(NamedTuple):
    """Texts of every row that may still grow, the most probable first; dead ones score -inf."""

    tokens: tf.Tensor  # <int32>[B, N, T], T of the longest text that there can be
    scores: tf.Tensor  # <float32>[B, N], log-probability of what follows the prompt


class Candidates(NamedTuple):
    """Continuations of a row's beams."""

    parent: tf.Tensor  # <int32>[B, M], the beam that is continued
    token: tf.Tensor  # <int32>[B, M], by this token
    score: tf.Tensor  # <float32>[B, M], log-probability of the text


class Best(NamedTuple):
    """The best text of every row among those that are finished."""

    tokens: tf.Tensor  # <int32>[B, T]
    length: tf.Tensor  # <int32>[B], without the end token
    score: tf.Tensor  # <float32>[B], with the length penalty; -inf if none is finished
    count: tf.Tensor  # <int32>[B], how many texts are finished


def beam_search(
    step: Step,
    states: Any,
    prompts: Any,
    max_new_tokens: int | tf.Tensor,
    num_beams: int | tf.Tensor,
    length_penalty: float | tf.Tensor,
    end: int | tf.Tensor,
    never: Sequence[int] = (),
) -> tf.RaggedTensor:
    """Search for the most probable continuation of each prompt, with N beams.

    A text Y, which ends with the end token or after `max_new_tokens`, scores

        s(Y) = log P(Y | prompt) / lp(Y),    lp(Y) = ((5 + |Y|) / 6)^length_penalty

    (Wu et al. 2016, section 7, without coverage), where |Y| counts the new tokens, the end token
    among them. In every step the N beams, the most probable texts so far, are continued by every
    token. What ends among the N most probable continuations is finished, and the N most probable of
    those that do not end are the next beams. A row ends when N texts are finished, or when no beam
    can become better than the best of these, whatever follows. One beam is greedy generation.

    Args:
        step: `step(tokens <int32>[B * N], states, place <int32>[]) -> (<float32>[B * N, V],
            states)`, as in `generate`.
        states: any nest of tensors whose first axis is B, as `initial_states` gives them.
        prompts: `<int>[B, (tokens)]`, as `ragged_prompts` takes them, at least one token a row.
        max_new_tokens: `<int32>[]`.
        num_beams: `<int32>[]`, N, at least 1.
        length_penalty: `<float32>[]`; 0 for none. The larger, the longer the texts.
        end: `int`, the token that ends a text.
        never: list of `int`, tokens that have no probability.

    Returns:
        `<int32>[B, (tokens)]`, ragged: prompts and what follows them, without the end token.

    Raises:
        ValueError: If an option is out of its limits (see `check_options`), a prompt is empty or,
            where `step` is a method of a model with a `pad_id`, padding alone; within a graph
            `tf.errors.InvalidArgumentError` when it runs.

    Example, where the more probable first token, 1, leads to less likely texts:

    >>> chances = tf.constant([[0, 0.6, 0.4, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]])
    >>> step = lambda tokens, states, place: (tf.math.log(tf.gather(chances, tokens)), states)
    >>> prompts = tf.ragged.constant([[0]])
    >>> [beam_search(step, [], prompts, 2, n, 0.0, end=3).to_list() for n in (1, 2)]
    [[[0, 1, 0]], [[0, 2]]]

    Reference: Wu et al. 2016, arXiv 1609.08144, section 7.

    Differs from the paper in: no coverage penalty, no pruning of beams by their distance to the
    best, and N finished texts end a row.
    """
    max_new_tokens, num_beams, length_penalty = check_options(
        max_new_tokens=max_new_tokens, num_beams=num_beams, length_penalty=length_penalty
    ).values()
    prompts = ragged_prompts(prompts, padding_of(step))
    max_new_tokens = tf.cast(max_new_tokens, tf.int32)
    length_penalty = tf.cast(length_penalty, tf.float32)
    lengths = tf.cast(prompts.row_lengths(), tf.int32)  # [B]
    given = to_dense(prompts, least=1)
    longest = tf.shape(given)[1]
    given = tf.pad(given, [[0, 0], [0, max_new_tokens]])  # [B, T]
    batch, total = tf.shape(given)[0], longest + max_new_tokens
    num_beams = tf.cast(num_beams, tf.int32)
    last = lengths + max_new_tokens - 1  # place of a row's last token

    def penalty(length: tf.Tensor) -> tf.Tensor:
        return tf.pow((5.0 + tf.cast(length, tf.float32)) / 6.0, length_penalty)

    def turn(place: tf.Tensor, beams: Beams, states: Any, best: Best) -> tuple:
        logits, following = step(tf.reshape(beams.tokens[:, :, place - 1], [-1]), states, place - 1)
        prompted = (place < lengths)[:, None]
        new = place - lengths + 1  # [B], new tokens, this one among them
        candidates = continuations(beams.scores, logits, never)
        ended = (candidates.token == end) | (place == last)[:, None]
        better = finish(best, candidates, ended & ~prompted, beams, place, penalty(new), end)
        chosen = pick(keep(candidates, ~ended), num_beams)
        forced = Candidates(parents, tf.tile(given[:, place, None], [1, num_beams]), beams.scores)
        chosen = Candidates(
            *(tf.where(prompted, x, y) for x, y in zip(forced, chosen, strict=True))
        )

        # A row is over if no beam can be better: log P only falls, and lp is largest at an end.
        reachable = chosen.score / tf.maximum(penalty(new + 1), penalty(max_new_tokens))[:, None]
        over = (reachable <= better.score[:, None]) | (better.count >= num_beams)[:, None]
        scores = tf.where(over & ~prompted, NONE, chosen.score)
        beams_after = Beams(extend(beams.tokens, chosen, place), scores)
        rows = tf.reshape(tf.range(batch)[:, None] * num_beams + chosen.parent, [-1])
        following = tf.nest.map_structure(lambda x: tf.gather(x, rows), following)
        return place + 1, *like((beams, states, best), (beams_after, following, better))

    parents = tf.tile(tf.range(num_beams)[None], [batch, 1])  # each beam as its own parent
    origin = tf.repeat(tf.range(batch), num_beams)
    scores = tf.where((parents == 0) & (max_new_tokens > 0), 0.0, NONE)  # the others are its copies
    beams = Beams(tf.repeat(given[:, None], num_beams, axis=1), scores)
    best = Best(given, lengths, tf.fill([batch], NONE), tf.zeros([batch], tf.int32))
    states = tf.nest.map_structure(lambda x: tf.gather(x, origin), states)
    *_, best = tf.while_loop(
        lambda place, beams, *_: (place < total) & tf.reduce_any(beams.scores > NONE),
        turn,
        (1, beams, states, best),
    )
    return tf.RaggedTensor.from_tensor(best.tokens, lengths=best.length)


def continuations(scores: tf.Tensor, logits: tf.Tensor, never: Sequence[int]) -> Candidates:
    """Return the 2 N most probable continuations of each row, of which N or more do not end.

    Args:
        scores: `<float32>[B, N]`, of the beams.
        logits: `<float32>[B * N, V]`.
        never: list of `int`.

    Returns:
        `Candidates`, `[B, 2 N]`. Among equal ones the first beam, then the lowest token is first.
    """
    batch, num_beams = tf.unstack(tf.shape(scores))
    logits = tf.where(forbidden(logits, never) > 0, NONE, logits)
    count = tf.minimum(2 * num_beams, tf.shape(logits)[1])  # of one beam that can be among them
    # By logits, of which two may be equal as soon as they are added to a sum of log-probabilities.
    values, tokens = tf.math.top_k(logits, count)
    values -= tf.reduce_logsumexp(logits, axis=1, keepdims=True)
    values = scores[:, :, None] + tf.reshape(values, [batch, num_beams, count])
    tokens = tf.reshape(tokens, [batch, num_beams * count])
    score, index = tf.math.top_k(tf.reshape(values, [batch, num_beams * count]), 2 * num_beams)
    return Candidates(index // count, tf.gather(tokens, index, batch_dims=1), score)


def finish(
    best: Best,
    candidates: Candidates,
    ended: tf.Tensor,
    beams: Beams,
    place: tf.Tensor,
    penalty: tf.Tensor,
    end: int | tf.Tensor,
) -> Best:
    """Return the best finished texts, with those among the N most probable continuations.

    Args:
        best: `Best` so far.
        candidates: `Candidates`, `[B, 2 N]`.
        ended: `<bool>[B, 2 N]`, which of them end.
        beams: `Beams` that they continue.
        place: `<int32>[]`, where their tokens stand.
        penalty: `<float32>[B]`, lp of texts that end here.
        end: `int`.
    """
    num_beams = tf.shape(beams.scores)[1]
    texts = keep(candidates, ended & (tf.range(2 * num_beams) < num_beams))
    # They are equally long, so that the most probable is the best.
    first = Candidates(*(x[:, :1] for x in pick(texts, 1)))
    score = first.score[:, 0] / penalty
    better = score > best.score
    tokens = tf.where(better[:, None], extend(beams.tokens, first, place)[:, 0], best.tokens)
    length = tf.where(first.token[:, 0] == end, place, place + 1)
    count = tf.reduce_sum(tf.cast(texts.score > NONE, tf.int32), 1)
    return Best(
        tokens,
        tf.where(better, length, best.length),
        tf.where(better, score, best.score),
        best.count + count,
    )


def keep(candidates: Candidates, mask: tf.Tensor) -> Candidates:
    """Return candidates of which only those of the mask `<bool>[B, M]` have a score."""
    return candidates._replace(score=tf.where(mask, candidates.score, NONE))


def pick(candidates: Candidates, count: int | tf.Tensor) -> Candidates:
    """Return the `count` most probable candidates, in that order."""
    score, index = tf.math.top_k(candidates.score, count)
    parent, token = (
        tf.gather(x, index, batch_dims=1) for x in (candidates.parent, candidates.token)
    )
    return Candidates(parent, token, score)


def extend(tokens: tf.Tensor, candidates: Candidates, place: tf.Tensor) -> tf.Tensor:
    """Return the texts of candidates, with their tokens at `place`: `<int32>[B, M, T]`."""
    here = tf.range(tf.shape(tokens)[2]) == place
    return tf.where(
        here, candidates.token[:, :, None], tf.gather(tokens, candidates.parent, batch_dims=1)
    )
