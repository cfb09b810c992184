"""From a published checkpoint to a model of ours."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.models.tokenizers.sentencepiece_tokenizer import SentencepieceTokenizer
from moe_zoo.routers import Router

from .architecture import model_arguments
from .config import VOCABULARY, read_config
from .safetensors_file import StoredTensor
from .tensor_check import check_tensors
from .tensor_files import find_tensors
from .tensor_names import Entry, find_weight


def load_model(
    model_class: type, folder: str | os.PathLike, router: Router | None = None, dtype: Any = None
) -> Any:
    """Return the model of a checkpoint; see `TransformerSeq2Seq.from_huggingface`.

    Tensors are read one at a time.

    Args:
        model_class: `TransformerSeq2Seq`.
        folder: `str` or path of the checkpoint.
        router: a router in place of the published rule, or `None`.
        dtype: Keras dtype policy.
    """
    config = read_config(folder)
    tensors = find_tensors(folder)
    table = check_tensors(tensors, config, folder)
    separate_tables = "decoder_embedding.embeddings" in table
    with _without_initial_values():
        model = model_class(**model_arguments(config, separate_tables, router, dtype))
    for attribute, entry in table.items():
        load_weight(find_weight(model, attribute), entry, tensors)
    vocabulary = Path(folder) / VOCABULARY
    if vocabulary.is_file() and find_spec("tensorflow_text"):
        model.tokenizer = SentencepieceTokenizer.load(vocabulary, config.vocabulary_size)
    return model


def load_weight(variable: keras.Variable, entry: Entry, tensors: dict[str, StoredTensor]) -> None:
    """Give a variable the values of its `Entry`, tensor by tensor or row by row, and in place.

    Assigning the value of a whole stack or table would keep up to three copies of it.
    """
    if entry.stacked:
        for number, name in enumerate(entry.names):
            _write_rows(variable, number, tensors[name].read().T[None])
    elif entry.transposed:
        variable.assign(tensors[entry.names[0]].read().T)
    else:
        for begin, values in tensors[entry.names[0]].parts():
            _write_rows(variable, begin, values)


def _write_rows(variable: keras.Variable, begin: int, values: np.ndarray) -> None:
    rows = tf.range(begin, begin + len(values))
    values = tf.cast(values, variable.dtype)
    variable.value.scatter_update(tf.IndexedSlices(values, rows))


@contextlib.contextmanager
def _without_initial_values() -> Iterator[None]:
    """Let matrices start as zeros in this context, since drawing them is slower than loading."""

    def create(
        next_creator: Callable, initial_value: Any = None, dtype: Any = None, **options: Any
    ) -> Any:
        if callable(initial_value) and tf.as_dtype(dtype).is_floating:
            with tf.Graph().as_default():  # traced for its shape
                shape = initial_value().shape
            if len(shape) > 1:
                initial_value = functools.partial(tf.zeros, shape, dtype)
        return next_creator(initial_value=initial_value, dtype=dtype, **options)

    with tf.variable_creator_scope(create):
        yield
