"""The product of binary tasks, as in ESMM."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import shown

from .binary import Probability


@keras.saving.register_keras_serializable(package="moe_zoo")
class ProductTask(Probability):
    """Several binary tasks at once: the probability is the product of theirs.

    Section 2 of the paper: `p(click and buy) = p(click) p(buy | click)`. With a label for the
    product and for the click, and `label=False` for the buy, the chance to buy after a click is
    learned from all rows, not from the clicked ones alone.

    It is computed from logits: `1 / (p q) - 1 = e^-a + e^-b + e^(-a - b)` for `p = sigmoid(a)`,
    `q = sigmoid(b)`, so that neither a loss nor a gradient is lost when a probability rounds to 0
    or 1.

    Args:
        name: `str`, of the label, of the output and in front of its metrics.
        of: names of at least two binary tasks, or of products that stand before it.
        weight: `float`, of its loss.
        label: `bool`, whether there are labels; without them it has neither loss nor metrics.
        missing_label: `int` that means a missing label, as NaN does, such as -1; `None` if all
            whole numbers are labels.

    Raises:
        ValueError: If `name` is not a text without '/', `of` has fewer than two tasks, or `weight`
            is negative.

    Example:

    >>> task = ProductTask("click_and_buy", of=("click", "buy"))
    >>> round(float(keras.ops.sigmoid(task.product([0.0, 0.0]))), 6)
    0.25

    Reference: Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, arXiv 1804.07931.

    Differs from the paper in: the towers share more than embeddings, unless the mixing is
    `SingleTask`.
    """

    def __init__(
        self,
        name: str,
        of: Sequence[str],
        weight: float = 1.0,
        label: bool = True,
        missing_label: int | None = None,
    ):
        super().__init__(name, weight, (), label, missing_label)
        self.of = tuple(of)
        if isinstance(of, str) or len(self.of) < 2:
            raise ValueError(
                f"Expected the names of at least two binary tasks. Received: of={shown(of)}. Give "
                'them as in of=("click", "buy").'
            )

    def product(self, logits: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the logit of the product of the probabilities with these logits."""
        first, *others = (tf.convert_to_tensor(x, tf.float32) for x in logits)
        for other in others:
            first = -_log_add(_log_add(-first, -other), -first - other)
        return first

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["tower"]
        return {**config, "of": list(self.of)}


def _log_add(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return `log(e^x + e^y)`."""
    return x + tf.math.softplus(y - x)
