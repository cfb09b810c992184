"""What endpoints that write text share: drawing or beam search, as the caller chooses."""

import tensorflow as tf

from moe_zoo.models.checks import check_options

from .beam_search import beam_search
from .generation import generate

OPTIONS = {  # of every `generate` endpoint, in this order
    "max_new_tokens": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "seed": tf.int32,
    "num_beams": tf.int32,
    "length_penalty": tf.float32,
}
SPECS = [tf.TensorSpec([], dtype, name) for name, dtype in OPTIONS.items()]


DRAWN = ("max_new_tokens", "temperature", "top_k", "top_p", "seed")  # arguments of `generate`
SEARCHED = ("max_new_tokens", "num_beams", "length_penalty")  # of `beam_search`


def decode(step, states, prompts, options, end, never):
    """`beam_search` if there is more than one beam, else `generate`.

    Args:
        step: as theirs.
        states: as theirs.
        prompts: as theirs.
        options: `dict` of scalars by the names in `OPTIONS`. Beams take no account of those that
            only draws need.
        end: as theirs.
        never: as theirs.

    Returns:
        `<int32>[B, (tokens)]`, ragged: prompts and what follows them, without the end token.

    Raises:
        ValueError: as theirs; also for options that only the other one needs.
    """
    options = check_options(**options)

    def draw():
        values = {name: options[name] for name in DRAWN}
        return generate(step, states, prompts, end=end, never=never, **values)

    def search():
        values = {name: options[name] for name in SEARCHED}
        return beam_search(step, states, prompts, end=end, never=never, **values)

    return tf.cond(options["num_beams"] > 1, search, draw)


def check_padding(model, tokenizer):
    """Raises ValueError if a model takes for a token what a tokenizer pads with, or vice versa."""
    pad_id = getattr(model, "pad_id", None)
    if pad_id is None:
        return
    if tokenizer.pad_id != pad_id:
        raise ValueError(
            f"Expected padding by pad_id={pad_id}, as the model has it. Received: "
            f"tokenizer.pad_id={tokenizer.pad_id}. Give the model this pad_id."
        )
    begins = getattr(model, "begins_with_padding", False)
    if getattr(tokenizer, "begin_id", None) == pad_id and not begins:
        raise ValueError(
            "Expected texts that begin with a token. Received: tokenizer.begin_id="
            f"{tokenizer.begin_id}, which is padding to the model. Give the model "
            "begins_with_padding=True."
        )


def check_vocabulary_size(model, tokenizer):
    """Raises ValueError if the vocabularies of a model and a tokenizer differ in size."""
    if tokenizer.vocabulary_size != model.vocabulary_size:
        raise ValueError(
            f"Expected a vocabulary of {model.vocabulary_size} pieces, as the model has. Received: "
            f"tokenizer.vocabulary_size={tokenizer.vocabulary_size}. Use the one that it was "
            "trained with."
        )
