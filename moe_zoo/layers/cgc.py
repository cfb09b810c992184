"""Customized gate control."""

from collections.abc import Sequence
from typing import Any

import keras

from moe_zoo.experts import Experts
from moe_zoo.gates import Gate

from .extraction_mixing import ExtractionMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class CGC(ExtractionMixing):
    """Customized gate control: each task has experts of its own and a share in common ones.

    `f^t(x) = w^t(x) S^t(x)`, where `S^t` stacks the outputs of the experts of task t and then those
    of the shared experts, and `w^t(x) = softmax(W_t x)`: section 4.1 of Tang et al. (2020).
    Unlike in `MMoE`, no task reaches the experts of another one.

    Args:
        task_experts: experts of each task, such as `MLPExperts(4, (16,))`: `num_experts` counts
            those of one task. Each task gets a clone, with seeds of its own.
        shared_experts: experts of all tasks, of the same output width.
        gate: a gate; `None` is `SoftmaxGate()`, the paper's.
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        task_names: T names for statistics; `None` for those of the model's tasks, or `task_0` and
            so on.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Raises:
        ValueError: If a size is not positive, output widths differ, or inputs are not `[B, D]`.

    Example:

    >>> from moe_zoo.experts import MLPExperts
    >>> layer = CGC(MLPExperts(4, (16,)), shared_experts=MLPExperts(3, (16,)), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 16)

    Reference: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
        Model for Personalized Recommendations", RecSys 2020.
    """

    def __init__(
        self,
        task_experts: Experts,
        shared_experts: Experts,
        gate: Gate | None = None,
        num_tasks: int | None = None,
        task_names: Sequence[str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            task_experts, shared_experts, gate, 1, num_tasks, task_names, name, **kwargs
        )
