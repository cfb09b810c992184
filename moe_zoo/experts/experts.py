"""The base of all experts."""

from typing import Any

import tensorflow as tf

from moe_zoo.plans import Layout, Slots
from moe_zoo.quantizing import check_policy, refuse_quantizing
from moe_zoo.recomputing import Recomputable
from moe_zoo.validation import check_int


class Experts(Recomputable):
    """E networks of one form, weights stacked as `[E, ...]`. Subclasses fill in `build`, `compute`.

    Args:
        num_experts: `int`, E.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Call arguments:
        rows: `<dtype>[E, M, D]`, M tokens for each expert, or rows in the given layout.
        layout: the layout of the rows, as `plan.layout` has it; `None` is `Slots()`.
        training: `bool`.

    Returns:
        As `rows`, with the experts' output width in place of D; `[M, E, width]` with `EveryRow()`.
    """

    def __init__(self, num_experts: int, name: str | None = None, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        check_policy(self)
        self.num_experts = check_int("num_experts", num_experts, least=1)

    def compute(self, rows: tf.Tensor, layout: Layout, training: bool) -> tf.Tensor:
        """Compute the experts' formula by `layout.dense`."""
        raise NotImplementedError(f"{type(self).__name__} has to define compute().")

    def call(
        self, rows: tf.Tensor, layout: Layout | None = None, training: bool = False
    ) -> tf.Tensor:
        layout = Slots() if layout is None else layout
        return layout.place(self.compute(layout.place(rows), layout, training))

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Refuse, as Keras' own layers do that cannot be quantized."""
        refuse_quantizing(self)

    def get_config(self) -> dict:
        return {**super().get_config(), "num_experts": self.num_experts}
