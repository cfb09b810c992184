"""Progressive layered extraction."""

import keras

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
        **kwargs: further arguments of `TaskMixing`: `task_names`, `name`, `dtype`.

    Raises:
        ValueError: a size that is not positive, output widths that differ, or inputs that are not
            `[B, D]`.

    Example:

    >>> from moe_zoo.experts import MLPExperts
    >>> layer = PLE(MLPExperts(4, (16,)), shared_experts=MLPExperts(3, (16,)), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 16)

    Reference: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
        Model for Personalized Recommendations", RecSys 2020.

    Differs from the paper in: experts of one form at all levels.
    """

    def __init__(self, task_experts, shared_experts, levels=2, gate=None, num_tasks=None, **kwargs):
        super().__init__(task_experts, shared_experts, gate, levels, num_tasks, **kwargs)

    def get_config(self):
        return {**super().get_config(), "levels": self.num_levels}
