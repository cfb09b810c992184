"""From a published checkpoint to a model of ours."""

import contextlib
import functools

import tensorflow as tf

from .architecture import build_model
from .config import read_config
from .tensor_check import check_tensors
from .tensor_files import find_tensors
from .tensor_names import find_weight


def from_huggingface(path, router=None, dtype=None):
    """The model of a Switch Transformers checkpoint in Hugging Face's layout.

    It routes by the published rule, `expert_capacity` slots for each expert in each row, and gives
    what `transformers` gives, in float32 but for the last digits. Tensors are read one at a time.

    Args:
        path: folder with `config.json` and `model.safetensors`, or its shards and their index.
        router: a router in place of the published rule, such as `SwitchRouter()`, for all tokens of
            a batch together; `None` routes as the original does.
        dtype: Keras dtype policy, such as `"mixed_bfloat16"`; `None` is the global one. Files of
            bfloat16 are float32 in memory, as all weights are.

    Returns:
        `TransformerSeq2Seq`.

    Raises:
        FileNotFoundError: no such files, or those of torch alone; the error shows how to convert.
        ValueError: a damaged file, another kind of model, a config.json and tensors that do not
            belong together (up to 50 tensors of each kind are listed), or `switch-xxl-128` and
            `switch-c-2048`, whose config.json contradicts their weights.

    Reference: Fedus et al., "Switch Transformers", JMLR 2022, arXiv 2101.03961.

    Differs from the original in: jitter in training, which there falls on the experts' input too,
    and the auxiliary losses, one for each layer in place of one for each stack.
    """
    config = read_config(path)
    tensors = find_tensors(path)
    table = check_tensors(tensors, config, path)
    with _without_initial_values():
        model = build_model(config, "decoder_embedding.embeddings" in table, router, dtype)
    for place, entry in table.items():
        load_weight(find_weight(model, place), entry, tensors)
    return model


def load_weight(variable, entry, tensors):
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


def _write_rows(variable, begin, values):
    rows = tf.range(begin, begin + len(values))
    values = tf.cast(values, variable.dtype)
    variable.value.scatter_update(tf.IndexedSlices(values, rows))


@contextlib.contextmanager
def _without_initial_values():
    """Within this context matrices start as zeros, since drawing them takes longer than loading."""

    def create(next_creator, initial_value=None, dtype=None, **options):
        if callable(initial_value) and tf.as_dtype(dtype).is_floating:
            with tf.Graph().as_default():  # traced for its shape
                shape = initial_value().shape
            if len(shape) > 1:
                initial_value = functools.partial(tf.zeros, shape, dtype)
        return next_creator(initial_value=initial_value, dtype=dtype, **options)

    with tf.variable_creator_scope(create):
        yield
