"""Find the experts that the tokens of texts are routed to."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from moe_zoo.analysis.expert_table import visible
from moe_zoo.analysis.routing import RoutedText, RoutedTokens, routed_tokens
from moe_zoo.models.text.language_model import LanguageModel
from moe_zoo.models.text.translator import Translator
from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.tensorboard import RoutedExamples
from moe_zoo.training.runs.translate import translate_texts
from moe_zoo.training.text.ragged_rows import encode_texts

BATCH_SIZE = 64
LENGTH = 48  # tokens of an example
Padded = tuple[np.ndarray, np.ndarray]  # ids and what is no padding
Seen = TypeVar("Seen")
DECODER = "decoder"  # the beginning of the paths of a decoder's layers


def route_texts(
    model: keras.Model, tokenizer: Tokenizer, texts: Sequence[str]
) -> dict[str, RoutedText]:
    """Run a model on texts, 64 at a time, and return the routing of their tokens in evaluation.

    A language model sees a begin token and the text, a classifier the text, an encoder the text and
    an end token. A decoder sees the greedy translation of the text.

    Args:
        model: Model of a finished run.
        tokenizer: Tokenizer of the model.
        texts: Texts to route.

    Returns:
        `RoutedText` by the path of each `MoE` layer.

    Raises:
        ValueError: If the model has no `MoE` layer, or if there is no token.
    """
    translations = None
    if isinstance(model, Translator):
        translations = translate_texts(model, tokenizer, texts, num_beams=1, length_penalty=0.0)
    inputs, seen = _encode(model, tokenizer, texts, translations)
    parts: dict[str, list[RoutedTokens]] = {}
    for start in range(0, len(texts), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        batch = keras.tree.map_structure(lambda ids, rows=rows: ids[rows], inputs)
        for path, routed in routed_tokens(model, batch).items():
            _, is_token = _seen_by(path, seen)
            parts.setdefault(path, []).append(_without_padding(routed, is_token[rows]))
    layers = {}
    for path, batches in parts.items():
        ids, _ = _seen_by(path, seen)
        layers[path] = RoutedText(ids, _pieces(tokenizer, ids), _joined(batches))
    return layers


def text_examples(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    translations: Sequence[str] | None = None,
    longest: int = LENGTH,
) -> RoutedExamples:
    """Make examples whose routing `RoutingCallback` writes, with their tokens as text.

    Args:
        model: Model to train, whose class decides the inputs.
        tokenizer: Tokenizer of the model.
        texts: Texts, such as the first ones of the validation part.
        translations: Translations of the texts, for a translation model.
        longest: Largest number of tokens that the model takes; at most 48 tokens are shown.
    """
    texts = [text[: 16 * LENGTH] for text in texts]  # do not encode whole files
    inputs, seen = _encode(model, tokenizer, texts, translations)
    length, tokens = min(LENGTH, longest), {}
    for path, (ids, is_token) in seen.items():
        pieces = _pieces(tokenizer, ids[:, :length])
        shown = [[visible(pieces[int(number)]) for number in row] for row in ids[:, :length]]
        tokens[path] = np.where(is_token[:, :length], shown, "")
    return RoutedExamples(keras.tree.map_structure(lambda ids: ids[:, :length], inputs), tokens)


def _encode(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    translations: Sequence[str] | None,
) -> tuple[Any, dict[str, Padded]]:
    """Return the model's inputs, and what layers see by the beginnings of their paths."""
    if translations is not None:
        source = _dense(tokenizer, texts, after=tokenizer.end_id)
        target = _dense(tokenizer, translations, before=tokenizer.begin_id)
        return {"source": source[0], "target": target[0]}, {"": source, DECODER: target}
    begin = tokenizer.begin_id if isinstance(model, LanguageModel) else None
    source = _dense(tokenizer, texts, before=begin)
    return source[0], {"": source}


def _seen_by(path: str, seen: Mapping[str, Seen]) -> Seen:
    return seen[DECODER if DECODER in seen and path.startswith(DECODER) else ""]


def _joined(batches: Sequence[RoutedTokens]) -> RoutedTokens:
    """Join the tokens of all batches in turn."""
    return RoutedTokens(
        experts=np.concatenate([batch.experts for batch in batches]),
        gates=np.concatenate([batch.gates for batch in batches]),
        kept=np.concatenate([batch.kept for batch in batches]),
        real=np.concatenate([batch.real for batch in batches]),
        num_experts=batches[0].num_experts,
        dropless=all(batch.dropless for batch in batches),
    )


def _without_padding(routed: RoutedTokens, is_token: np.ndarray) -> RoutedTokens:
    """Drop the padding of the last group, and mark only the text as real."""
    size = is_token.size
    return routed._replace(
        experts=routed.experts[:size],
        gates=routed.gates[:size],
        kept=routed.kept[:size],
        real=routed.real[:size] & is_token.reshape(-1),
    )


def _dense(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    before: int | None = None,
    after: int | None = None,
) -> Padded:
    """Return the padded ids of texts, `<int32>[B, T]`, and what is no padding, `<bool>[B, T]`."""
    rows = encode_texts(tokenizer, texts)
    lengths = rows.lengths + (before is not None) + (after is not None)
    if not lengths.max(initial=0):
        raise ValueError(
            f"Expected texts with tokens. Received: {len(texts)} texts without tokens. Give some "
            "with --text."
        )
    shape = len(texts), int(lengths.max())
    ids = rows.dense(range(len(texts)), shape, tokenizer.pad_id, before, after)
    return ids, np.arange(shape[1]) < lengths[:, np.newaxis]


def _pieces(tokenizer: Tokenizer, ids: np.ndarray) -> dict[int, str]:
    """Return the text of each id that occurs, or its number if it has no text."""
    unique = np.unique(ids)
    texts = tokenizer.decode(unique[:, np.newaxis]).numpy()
    return {
        int(number): text.decode("utf-8", "replace") or f"<{number}>"
        for number, text in zip(unique, texts, strict=True)
    }
