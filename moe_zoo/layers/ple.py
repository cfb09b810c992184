"""Progressive layered extraction."""

from collections.abc import Sequence
from typing import Any

import keras

from moe_zoo.experts import Experts
from moe_zoo.gates import Gate

from .extraction_mixing import ExtractionMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class PLE(ExtractionMixing):
    """Progressive layered extraction: `CGC` in levels, which separate tasks step by step.

    `x^t_j = w^t_j(x^t_(j-1)) S^t_j`, section 4.2 of Tang et al. (2020). A task's gate takes
    its own experts of the level and the shared ones; the gate of the shared path, which all levels
    but the last have, takes all experts of the level. Statistics are those of the last level's
    gates; losses those of all gates.

    Args:
        task_experts: experts of each task at each level, such as `MLPExperts(4, (16,))`:
            `num_experts` counts those of one task at one level. All are clones, with seeds of their
            own.
        shared_experts: experts of all tasks at each level, of the same output width.
        levels: `int`; 1 is `CGC`.
        gate: a gate; `None` is `SoftmaxGate()`, the paper's. Every gate is a clone.
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        task_names: T names for statistics; `None` for those of the model's tasks, or `task_0` and
            so on.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Raises:
        ValueError: If a size is not positive, output widths differ, or inputs are not `[B, D]`.

    Example:

    >>> from moe_zoo.experts import MLPExperts
    >>> layer = PLE(MLPExperts(4, (16,)), shared_experts=MLPExperts(3, (16,)), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 16)

    Reference: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
        Model for Personalized Recommendations", RecSys 2020.

    Differs from the paper in: experts of one form at all levels.
    """

    def __init__(
        self,
        task_experts: Experts,
        shared_experts: Experts,
        levels: int = 2,
        gate: Gate | None = None,
        num_tasks: int | None = None,
        task_names: Sequence[str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            task_experts, shared_experts, gate, levels, num_tasks, task_names, name, **kwargs
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "levels": self.num_levels}
