"""Generation in NumPy, token by token in float64, from the definitions.

A distribution is a function `chances(text) -> [V]` of the whole text so far, a tuple of ints.
"""

import itertools

import numpy as np


def penalized(log_probability, length, length_penalty):
    """log P / ((5 + |Y|) / 6)^alpha: Wu et al. 2016, equation 14, without coverage."""
    return log_probability / ((5 + length) / 6) ** length_penalty


def score(chances, prompt, new, length_penalty):
    """The score of the new tokens after a prompt, an end token among them if there is one."""
    total, text = 0.0, tuple(prompt)
    for token in new:
        total += np.log(chances(text)[token])
        text += (token,)
    return penalized(total, len(new), length_penalty)


def every_text(size, max_new_tokens, end):
    """All that can follow a prompt: texts with an end token at their end, or of full length."""
    others = [token for token in range(size) if token != end]
    for length in range(max_new_tokens):
        for text in itertools.product(others, repeat=length):
            yield (*text, end)
    yield from itertools.product(others, repeat=max_new_tokens)


def best_of_all(chances, prompt, size, max_new_tokens, length_penalty, end):
    """The text of the highest score, by trying every one."""
    texts = every_text(size, max_new_tokens, end)
    return max(texts, key=lambda new: score(chances, prompt, new, length_penalty))


def beam_search(chances, prompt, max_new_tokens, num_beams, length_penalty, end):
    """The best text that is finished, by keeping the likeliest ones in each step.

    A row goes on until as many texts as there are beams are finished, and never stops before.
    """
    beams, finished = [(0.0, ())], []
    for turn in range(max_new_tokens):
        candidates = []
        for total, new in beams:
            with np.errstate(divide="ignore"):
                logs = np.log(chances((*prompt, *new)))
            candidates += [(total + log, (*new, token)) for token, log in enumerate(logs)]
        candidates = sorted(candidates, key=lambda x: -x[0])
        candidates = [(total, new) for total, new in candidates if total > -np.inf]
        last = turn == max_new_tokens - 1
        for total, new in candidates[:num_beams]:
            if new[-1] == end or last:
                finished.append((penalized(total, len(new), length_penalty), new))
        if len(finished) >= num_beams:
            break
        beams = [x for x in candidates if x[1][-1] != end][:num_beams]
    return max(finished, key=lambda x: x[0])[1]


def greedy(chances, prompt, max_new_tokens, end):
    """The likeliest token again and again."""
    new = ()
    while len(new) < max_new_tokens and end not in new:
        new += (int(np.argmax(chances((*prompt, *new)))),)
    return new


def draw_chances(logits, temperature=1.0, top_k=0, top_p=1.0):
    """The probability of each token to be drawn, `[V]`.

    The nucleus is the smallest set of the likeliest tokens whose probabilities sum up to at least
    top_p (Holtzman et al. 2020, equation 2), here of those that top_k leaves.
    """
    logits = np.asarray(logits, "float64") / temperature
    order = np.argsort(-logits, kind="stable")[: top_k or None]
    chances = np.zeros(len(logits))
    chances[order] = np.exp(logits[order] - logits.max())
    chances /= chances.sum()
    kept = []
    for token in order:
        kept.append(token)
        if sum(chances[kept]) >= top_p:
            break
    inside = np.isin(np.arange(len(logits)), kept)
    return np.where(inside, chances, 0.0) / chances[kept].sum()
