"""T5's tokenizer: a SentencePiece model and the sentinels that are not in it."""

import base64
import hashlib
import os
from pathlib import Path
from typing import Any, Self

import keras
import tensorflow as tf

from moe_zoo.files import read_file, write_file
from moe_zoo.models.checks import as_strings, check_ids
from moe_zoo.validation import check_int, one_line, shown

from .sentencepiece_file import check_pieces
from .tensorflow_text import require_tensorflow_text

PAD_ID, END_ID, UNKNOWN_ID = range(3)
SPECIAL_PIECES = ("<pad>", "</s>", "<unk>")
SENTINELS = 100
SENTINEL = "<extra_id_{}>"
SPECIAL = r"<pad>|</s>|<unk>|<extra_id_(?:[0-9]|[1-9][0-9])>"
ROUNDING = 128  # published models have a multiple of this many rows
SPACE = "\u2581"  # a space, in a piece
T5_PIECES = 32_000
T5_BYTES = 791_656
T5_SHA256 = "d60acb128cf7b7f2536e8f38a5b18a05535c9e14c7a355904270e15b0945ea86"


@keras.saving.register_keras_serializable("moe_zoo")
class SentencepieceTokenizer(tf.Module):
    """Text to ids and back, as T5 and the published Switch Transformers do it.

    Ids are those of the SentencePiece model, after which come 100 sentinels, the last one first:
    `<extra_id_k>` is `pieces + 99 - k`. `<pad>` is 0, `</s>` 1 and `<unk>` 2; the names of these
    and of sentinels are recognised in a text. All of it is TensorFlow operations, and the model is
    part of the graph.

    Args:
        model: `bytes`, of a `spiece.model`.
        vocabulary_size: `int`, rows of the embedding that the ids are for; `None` is pieces and
            sentinels. Published models have up to 127 rows more, which no text reaches.
        sha256: `str`, what the SHA-256 of `model` has to be; `None` does not compare.
        name: `str`, or `None`.

    Raises:
        ValueError: If `model` is no SentencePiece model with T5's special pieces, or the vocabulary
            does not fit the embedding.
        ImportError: If tensorflow-text is missing.

    Reference: Raffel et al., JMLR 2020, arXiv 1910.10683.
    """

    pad_id, end_id, unknown_id, begin_id = PAD_ID, END_ID, UNKNOWN_ID, PAD_ID

    def __init__(
        self,
        model: bytes,
        vocabulary_size: int | None = None,
        name: str | None = None,
        sha256: str | None = None,
    ):
        super().__init__(name=name)
        if not isinstance(model, bytes | bytearray | memoryview):
            raise ValueError(
                f"Expected the bytes of a SentencePiece model. Received: model={shown(model)}. Use "
                "SentencepieceTokenizer.load(path) for a file."
            )
        self._model = bytes(model)
        if sha256 is not None and str(sha256).lower() != self.fingerprint:
            raise ValueError(
                f"Expected a SentencePiece model with sha256={shown(sha256)}. Received: "
                f"{len(self._model)} bytes with {self.fingerprint}: the file is damaged, or "
                "another one. Restore spiece.model or download it again."
            )
        with tf.init_scope(), tf.device("CPU:0"):
            self._search = _search(self._model)
            self.num_pieces = int(self._search.vocab_size())
            pieces = self._search.id_to_string(tf.range(self.num_pieces)).numpy()
            sentinels = [SENTINEL.format(k).encode() for k in reversed(range(SENTINELS))]
            texts = [piece.replace(SPACE.encode(), b" ") for piece in pieces] + sentinels
            _check_special(texts[: len(SPECIAL_PIECES)])
            self._names = tf.constant([*texts[: len(SPECIAL_PIECES)], *sentinels])
            begin = [*range(len(SPECIAL_PIECES)), *range(self.num_pieces, len(texts))]
            self._ids = tf.constant(begin, tf.int32)
            texts[PAD_ID] = texts[END_ID] = b""
            self._texts = tf.constant([*texts, b""])  # the last one is of all ids above
        known = self.num_pieces + SENTINELS
        if vocabulary_size is None:
            vocabulary_size = known
        self.vocabulary_size = check_int("vocabulary_size", vocabulary_size, 1)
        if not known <= self.vocabulary_size < known + ROUNDING:
            raise ValueError(
                f"Expected a model of {known} to {known + ROUNDING - 1} rows for {self.num_pieces} "
                f"pieces and {SENTINELS} sentinels. Received: vocabulary_size="
                f"{self.vocabulary_size}. Take the spiece.model of the same checkpoint."
            )

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the SentencePiece model."""
        return hashlib.sha256(self._model).hexdigest()

    def encode(self, strings: Any) -> tf.RaggedTensor:
        """Return the token ids of each string, without `</s>` at its end.

        Args:
            strings: `<string>[batch]`, or a list of strings.

        Returns:
            `<int32>[batch, (tokens)]`, ragged.
        """
        return self._encode(as_strings(strings))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def _encode(self, strings: tf.Tensor) -> tf.RaggedTensor:
        parts = require_tensorflow_text().regex_split(strings, SPECIAL, SPECIAL)
        special = tf.strings.regex_full_match(parts.values, SPECIAL)
        pieces = self._search.tokenize(tf.where(special, "", parts.values))
        names = tf.boolean_mask(parts.values, special)
        same = tf.cast(tf.expand_dims(names, 1) == self._names, tf.int32)
        ids = tf.gather(self._ids, tf.argmax(same, 1, tf.int32))
        ids = tf.RaggedTensor.from_row_lengths(ids, tf.cast(special, tf.int64))
        return parts.with_values(tf.concat([pieces, ids], 1)).merge_dims(1, 2)

    def decode(self, ids: Any) -> tf.Tensor:
        """Return the text of token ids; `<pad>`, `</s>` and rows without a piece have none.

        Args:
            ids: `<int32 or int64>[batch, tokens]`, dense or ragged.

        Returns:
            `<string>[batch]`. Sentinels and `<unk>` are written by their names.

        Raises:
            ValueError: If an id is not from 0 to `vocabulary_size - 1`, or within a graph
                `tf.errors.InvalidArgumentError` when it runs.
        """
        ids = check_ids(ids, self.vocabulary_size, "ids")
        known = tf.cast(self.num_pieces + SENTINELS, ids.dtype)
        texts = tf.strings.reduce_join(tf.gather(self._texts, tf.minimum(ids, known)), axis=-1)
        return tf.strings.regex_replace(texts, "^ ", "")

    def save(self, path: str | os.PathLike) -> None:
        """Write the SentencePiece model and next to it its SHA-256, as `sha256sum` does.

        Args:
            path: `str` or path of the file.
        """
        path = Path(path)
        write_file(path, self._model)
        write_file(_digest_of(path), f"{self.fingerprint}  {path.name}\n")

    @classmethod
    def load(
        cls, path: str | os.PathLike, vocabulary_size: int | None = None, sha256: str | None = None
    ) -> Self:
        """Load the tokenizer of a `spiece.model`.

        Args:
            path: `str` or path of the file.
            vocabulary_size: `int`, rows of the embedding of the model that it is for, or `None`.
            sha256: `str`, of the file, as its publisher states it; `None` takes the one in
                `spiece.model.sha256` next to it, or the one of T5's file for a file of its size.
                Without any, damage is found only where it breaks the form of the file, not where it
                changes a letter.

        Raises:
            ValueError: If the file has another SHA-256, or is no such model.
        """
        path = Path(path)
        model = read_file(path)
        digest = _digest_of(path)
        if sha256 is None and digest.exists():
            sha256 = read_file(digest)[:64].decode("utf-8", "replace")
        if sha256 is None and len(model) == T5_BYTES:
            sha256 = T5_SHA256
        return cls(model, vocabulary_size, sha256=sha256)

    def get_config(self) -> dict:
        """Return arguments that make an equal tokenizer."""
        return {
            "model": base64.b64encode(self._model).decode(),
            "vocabulary_size": self.vocabulary_size,
            "name": self.name,
            "sha256": self.fingerprint,
        }

    @classmethod
    def from_config(cls, config: dict) -> Self:
        """Make a tokenizer from the configuration that `get_config` returned."""
        return cls(**{**config, "model": base64.b64decode(config["model"])})


def check_t5_vocabulary(path: str | os.PathLike) -> None:
    """Check that a `spiece.model` is T5's, which published checkpoints use.

    Args:
        path: `str` or path of the file.

    Raises:
        ValueError: If it is another file.
    """
    content = read_file(path)
    digest = hashlib.sha256(content).hexdigest()
    if (len(content), digest) != (T5_BYTES, T5_SHA256):
        raise ValueError(
            f"Expected T5's spiece.model: {T5_PIECES} pieces in {T5_BYTES} bytes, sha256 "
            f"{T5_SHA256}. Received: path={shown(str(path))}, {len(content)} bytes, sha256 "
            f"{digest}. Download it again, or pass this check by for a vocabulary of your own."
        )


def _search(model: bytes) -> Any:
    """Return tensorflow-text's tokenizer of a SentencePiece model."""
    try:
        check_pieces(model)
        search = require_tensorflow_text().SentencepieceTokenizer(
            model, out_type=tf.int32, add_bos=False, add_eos=False
        )
        _keep_resource(search, model)
        search.vocab_size()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Expected a SentencePiece model. Received: {len(model)} bytes that are none: "
            f"{one_line(error, 200)}. Download spiece.model again."
        ) from error
    return search


def _keep_resource(search: Any, model: bytes) -> None:
    """Give the model's table a name, by which it outlives TensorFlow's cache of kernels.

    A new seed, as `keras.utils.set_random_seed` sets it, clears that cache, and a table without a
    name with it.
    """
    from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

    make = gen_sentencepiece_tokenizer.sentencepiece_op
    name = hashlib.sha256(model).hexdigest()
    search._model_resource._create_resource = lambda: make(model=model, shared_name=name)
    search._model_resource._resource_handle = None


def _digest_of(path: Path) -> Path:
    """Return the path of the digest of a file, next to it."""
    return path.with_name(f"{path.name}.sha256")


def _check_special(texts: list[bytes]) -> None:
    if tuple(text.decode() for text in texts) != SPECIAL_PIECES:
        raise ValueError(
            f"Expected a SentencePiece model that begins with {SPECIAL_PIECES}, as T5's does. "
            f"Received: {texts}. Train it with pad_id=0, eos_id=1, unk_id=2 and bos_id=-1."
        )
