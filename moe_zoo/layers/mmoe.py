"""The multi-gate mixture of experts."""

import keras

from moe_zoo.gates import SoftmaxGate
from moe_zoo.parts import take_parts
from moe_zoo.plans.plan import EVERY_ROW, weigh

from .task_mixing import TaskMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class MMoE(TaskMixing):
    """The multi-gate mixture of experts: shared experts, and for each task a gate of its own.

    `f^t(x) = sum_e g^t(x)_e f_e(x)`, section 4.2 of Ma et al. (2018). Every expert computes every
    row, by one product for all of them. What follows, the tower `h^t` of a task, is not part of
    the layer.

    Args:
        experts: experts, such as `MLPExperts(8, (16,))`.
        gate: a gate; `None` is `SoftmaxGate()`, the paper's.
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        **kwargs: further arguments of `TaskMixing`: `task_names`, `name`, `dtype`.

    Raises:
        ValueError: a size that is not positive, experts or a gate of another layer, or inputs that
            are not `[B, D]`.

    Example:

    >>> from moe_zoo.experts import MLPExperts
    >>> layer = MMoE(MLPExperts(8, (16,)), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 16)

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018.

    Differs from the paper in: experts and gates of other forms, where they are given.
    """

    has_gates = True

    def __init__(self, experts, gate=None, num_tasks=None, **kwargs):
        super().__init__(num_tasks, **kwargs)
        self.experts = experts
        self.gate = SoftmaxGate() if gate is None else gate
        self.size_parts()
        take_parts(self, experts=experts, gate=self.gate)

    def size_parts(self):
        if self.num_tasks is not None:
            self.gate.set_sizes(self.num_tasks, self.experts.num_experts)

    def build_mixing(self, width):
        for part in (self.experts, self.gate):
            if not part.built:  # a revived part comes built
                part.build((None, width))
        self.add_statistics(self.experts.num_experts, self.gate.active_losses())

    def mix(self, rows, training):
        gates = self.gate(rows, training=training)  # [B, T, E]
        outputs = self.experts(rows, counts=EVERY_ROW, training=training)  # [B, E, U]
        return weigh(gates.gates, outputs), gates

    def output_dim(self, width):
        return self.experts.compute_output_shape((None, width))[-1]

    def get_config(self):
        return {
            **super().get_config(),
            "experts": keras.saving.serialize_keras_object(self.experts),
            "gate": keras.saving.serialize_keras_object(self.gate),
        }
