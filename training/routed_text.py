"""Texts and the experts that their tokens go to, by a finished run's model."""

from typing import NamedTuple

import keras
import numpy as np

from moe_zoo.analysis import RoutedTokens, routed_tokens
from moe_zoo.models import TransformerClassifier, TransformerSeq2Seq

from .ragged_rows import encode_texts
from .translation.translate import translate_texts

BATCH_SIZE = 64
DECODER = "decoder"  # the beginning of the paths of a decoder's layers


class RoutedText(NamedTuple):
    """Texts as one layer sees them, and what its router decided.

    Fields:
        ids: `<int32>[B, T]`, filled up at the end.
        pieces: `dict` of `str` by id.
        routed: `RoutedTokens` of the `B * T` tokens; those that fill a row up are not real.
    """

    ids: np.ndarray
    pieces: dict[int, str]
    routed: RoutedTokens


def route_texts(model, tokenizer, texts) -> dict[str, RoutedText]:
    """Run a model on texts, 64 at a time, and see where the tokens go, as when it is evaluated.

    A language model sees a begin token and the text, a classifier the text, an encoder the text and
    an end token; a decoder sees the greedy translation of the text.

    Args:
        model: that of a finished run.
        tokenizer: its tokenizer.
        texts: `list` of `str`.

    Returns:
        `dict` of `RoutedText` by the path of each `MoE` layer.

    Raises:
        ValueError: the model has no `MoE` layer, or there is no token.
    """
    if isinstance(model, TransformerSeq2Seq):
        translations = translate_texts(model, tokenizer, texts, num_beams=1, length_penalty=0.0)
        source = _dense(tokenizer, texts, after=tokenizer.end_id)
        target = _dense(tokenizer, translations, before=tokenizer.begin_id)
        seen = {"source": source[0], "target": target[0]}
    else:
        begin = None if isinstance(model, TransformerClassifier) else tokenizer.begin_id
        source = target = _dense(tokenizer, texts, before=begin)
        seen = source[0]
    parts: dict[str, list[RoutedTokens]] = {}
    for start in range(0, len(texts), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        batch = keras.tree.map_structure(lambda ids, rows=rows: ids[rows], seen)
        for path, routed in routed_tokens(model, batch).items():
            _, real = target if path.startswith(DECODER) else source
            parts.setdefault(path, []).append(_without_filling(routed, real[rows]))
    found = {}
    for path, batches in parts.items():
        ids, _ = target if path.startswith(DECODER) else source
        found[path] = RoutedText(ids, _pieces(tokenizer, ids), _joined(batches))
    return found


def _joined(batches):
    """The tokens of all batches, one after the other."""
    return RoutedTokens(
        experts=np.concatenate([batch.experts for batch in batches]),
        gates=np.concatenate([batch.gates for batch in batches]),
        kept=np.concatenate([batch.kept for batch in batches]),
        real=np.concatenate([batch.real for batch in batches]),
        num_experts=batches[0].num_experts,
    )


def _without_filling(routed, real):
    """Of the tokens of whole rows, those real that are text; none that fill up a group."""
    size = real.size
    return routed._replace(
        experts=routed.experts[:size],
        gates=routed.gates[:size],
        kept=routed.kept[:size],
        real=routed.real[:size] & real.reshape(-1),
    )


def _dense(tokenizer, texts, before=None, after=None):
    """Ids of texts and special ones, `<int32>[B, T]`, and what is no filling, `<bool>[B, T]`."""
    rows = encode_texts(tokenizer, texts)
    lengths = rows.lengths + (before is not None) + (after is not None)
    if not lengths.max(initial=0):
        raise ValueError(
            f"Expected texts with tokens. Received: {len(texts)} texts without any. Give some with "
            "--text."
        )
    shape = len(texts), int(lengths.max())
    ids = rows.dense(range(len(texts)), shape, tokenizer.pad_id, before, after)
    return ids, np.arange(shape[1]) < lengths[:, np.newaxis]


def _pieces(tokenizer, ids):
    """The text of each id that occurs; the number of one that has none."""
    unique = np.unique(ids)
    texts = tokenizer.decode(unique[:, np.newaxis]).numpy()
    return {
        int(number): text.decode("utf-8", "replace") or f"<{number}>"
        for number, text in zip(unique, texts, strict=True)
    }
