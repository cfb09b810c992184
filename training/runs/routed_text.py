"""Texts and the experts that their tokens go to, by a finished run's model."""

import keras
import numpy as np

from moe_zoo.analysis.expert_table import visible
from moe_zoo.analysis.routing import RoutedText, RoutedTokens, routed_tokens
from moe_zoo.models import TransformerClassifier, TransformerSeq2Seq
from moe_zoo.tensorboard import RoutedExamples
from moe_zoo.training.runs.translate import translate_texts
from moe_zoo.training.text.ragged_rows import encode_texts

BATCH_SIZE = 64
LENGTH = 48  # tokens of an example
DECODER = "decoder"  # the beginning of the paths of a decoder's layers


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
    translations = None
    if isinstance(model, TransformerSeq2Seq):
        translations = translate_texts(model, tokenizer, texts, num_beams=1, length_penalty=0.0)
    inputs, seen = _encode(model, tokenizer, texts, translations)
    parts: dict[str, list[RoutedTokens]] = {}
    for start in range(0, len(texts), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        batch = keras.tree.map_structure(lambda ids, rows=rows: ids[rows], inputs)
        for path, routed in routed_tokens(model, batch).items():
            _, real = _seen_by(path, seen)
            parts.setdefault(path, []).append(_without_filling(routed, real[rows]))
    found = {}
    for path, batches in parts.items():
        ids, _ = _seen_by(path, seen)
        found[path] = RoutedText(ids, _pieces(tokenizer, ids), _joined(batches))
    return found


def text_examples(model, tokenizer, texts, translations=None, longest=LENGTH) -> RoutedExamples:
    """Texts whose routing `RoutingCallback` is to write, with their tokens as text.

    Args:
        model: that will be trained, which tells only what it takes.
        tokenizer: its tokenizer.
        texts: `list` of `str`, such as the first ones of the validation part.
        translations: those of the texts, for a model that translates.
        longest: `int`, tokens that the model takes at most; of texts 48 are shown.
    """
    texts = [text[: 16 * LENGTH] for text in texts]  # of whole files only the beginning is encoded
    inputs, seen = _encode(model, tokenizer, texts, translations)
    length, tokens = min(LENGTH, longest), {}
    for path, (ids, real) in seen.items():
        pieces = _pieces(tokenizer, ids[:, :length])
        shown = [[visible(pieces[int(number)]) for number in row] for row in ids[:, :length]]
        tokens[path] = np.where(real[:, :length], shown, "")
    return RoutedExamples(keras.tree.map_structure(lambda ids: ids[:, :length], inputs), tokens)


def _encode(model, tokenizer, texts, translations):
    """What the model takes, and `(ids, real)` that layers see by the beginnings of their paths."""
    if isinstance(model, TransformerSeq2Seq):
        source = _dense(tokenizer, texts, after=tokenizer.end_id)
        target = _dense(tokenizer, translations, before=tokenizer.begin_id)
        return {"source": source[0], "target": target[0]}, {"": source, DECODER: target}
    begin = None if isinstance(model, TransformerClassifier) else tokenizer.begin_id
    source = _dense(tokenizer, texts, before=begin)
    return source[0], {"": source}


def _seen_by(path, seen):
    return seen[DECODER if DECODER in seen and path.startswith(DECODER) else ""]


def _joined(batches):
    """The tokens of all batches, one after the other."""
    return RoutedTokens(
        experts=np.concatenate([batch.experts for batch in batches]),
        gates=np.concatenate([batch.gates for batch in batches]),
        kept=np.concatenate([batch.kept for batch in batches]),
        real=np.concatenate([batch.real for batch in batches]),
        num_experts=batches[0].num_experts,
        dropless=all(batch.dropless for batch in batches),
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
