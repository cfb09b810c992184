"""What endpoints that write text share: drawing or beam search, as the caller chooses."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from moe_zoo.models.checks import check_options

from .beam_search import beam_search
from .generation import generate
from .prompts import Step

OPTIONS = {  # of every endpoint that writes text, in this order
    "max_new_tokens": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "seed": tf.int32,
    "num_beams": tf.int32,
    "length_penalty": tf.float32,
}
OPTION_SPECS = [tf.TensorSpec([], dtype, name) for name, dtype in OPTIONS.items()]
DRAWN = ("max_new_tokens", "temperature", "top_k", "top_p", "seed")  # arguments of `generate`
SEARCHED = ("max_new_tokens", "num_beams", "length_penalty")  # of `beam_search`


def decode(
    step: Step,
    states: Any,
    prompts: tf.RaggedTensor,
    options: dict[str, Any],
    end: int | tf.Tensor,
    never: Sequence[int],
) -> tf.RaggedTensor:
    """Continue prompts by `beam_search` if there is more than one beam, else by `generate`.

    Args:
        step: as in `generate`.
        states: as in `generate`.
        prompts: `<int32>[B, (tokens)]`, ragged.
        options: `dict` of scalars by the names in `OPTIONS`. Beams take no account of those that
            only draws need.
        end: `int` or `<int32>[]`, the token that ends a text.
        never: list of `int`, tokens that are never written.

    Returns:
        `<int32>[B, (tokens)]`, ragged: prompts and what follows them, without the end token.

    Raises:
        ValueError: If an option is out of its limits, also one that is not used, or a prompt is
            empty.
    """
    options = check_options(**options)

    def draw() -> tf.Tensor:
        values = {name: options[name] for name in DRAWN}
        return generate(step, states, prompts, end=end, never=never, **values)

    def search() -> tf.Tensor:
        values = {name: options[name] for name in SEARCHED}
        return beam_search(step, states, prompts, end=end, never=never, **values)

    return tf.cond(options["num_beams"] > 1, search, draw)
