"""The sparse mixture-of-experts layer."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.experts import Experts
from moe_zoo.inputs import dense_inputs, mask_of
from moe_zoo.parts import take_parts
from moe_zoo.quantizing import check_policy
from moe_zoo.recomputing import Recomputable, refuse_recomputing
from moe_zoo.routers import Router
from moe_zoo.scopes import record
from moe_zoo.stats import RoutingMetric, count_plan
from moe_zoo.validation import check_bool, check_int, check_part

from .groups import from_groups, to_groups
from .names import default_name


@keras.saving.register_keras_serializable(package="moe_zoo")
class MoE(Recomputable):
    """A mixture of experts: each token gets a few experts, whose outputs are summed by gate.

    `y = sum_i G(x)_i E_i(x)` over the experts that the router chose (Shazeer et al. 2017, eq. 1).
    Only those are computed. A token whose every choice was dropped gives zeros, so put the layer
    next to a residual connection.

    In training the router adds its losses. Its statistics appear in the logs of `fit` under the
    layer's name, or its path where another layer of the model has the name; `routing_stats` gives
    them in full. If `training` is true the training capacity factor holds, else the evaluation one.

    Args:
        router: a router, such as `SwitchRouter()`.
        experts: experts, such as `FeedForwardExperts(num_experts=8, hidden_dim=1024)`.
        group_size: `int` or `None`, tokens that share one capacity, GShard's groups; `None` is one
            group of all.
        group_by_row: `bool`, each row of the batch is a group of its own, so that what is dropped
            in it does not depend on the others.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Call arguments:
        inputs: `<float>[B, ..., D]`, any number of axes before the last.
        mask: `<bool>[B, ...]`, an array or nested lists of such, numbers that are 0 for padding, or
            `None`; Keras gives it where an earlier layer made one. A masked token takes no slot,
            counts in no loss or statistic, and gives zeros.
        training: `bool`.

    Returns:
        `<float>[B, ..., D]`, or the experts' `output_dim` in place of D.

    Raises:
        ValueError: If router and experts are swapped, classes or parts of another layer, `top_k >
            num_experts`, both `group_size` and `group_by_row` are given, inputs are not floats or
            their last axis is unknown, or a mask has another shape.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.routers import SwitchRouter
    >>> layer = MoE(SwitchRouter(), FeedForwardExperts(num_experts=4, hidden_dim=32))
    >>> tuple(layer(keras.random.normal((2, 10, 16))).shape)
    (2, 10, 16)

    Reference: Shazeer et al., ICLR 2017, arXiv 1701.06538.
    """

    def __init__(
        self,
        router: Router,
        experts: Experts,
        group_size: int | None = None,
        group_by_row: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name or default_name("MoE"), **kwargs)
        check_part("router", router, Router, "SwitchRouter()")
        check_part("experts", experts, Experts, "FeedForwardExperts(8, 1024)")
        check_policy(self)
        self.supports_masking = True
        self.router = router
        self.experts = experts
        self.group_size = None if group_size is None else check_int("group_size", group_size, 1)
        self.group_by_row = check_bool("group_by_row", group_by_row)
        if self.group_by_row and group_size is not None:
            raise ValueError(
                "Expected group_size or group_by_row. Received: both, group_size="
                f"{group_size}, group_by_row={group_by_row}. Leave one out."
            )
        router.set_num_experts(experts.num_experts)
        self.supports_jit = router.supports_jit
        take_parts(self, router=router, experts=experts)

    def build(self, input_shape: tuple) -> None:
        width = input_shape[-1]
        if len(input_shape) < 2 or width is None:
            raise ValueError(
                "Expected inputs [batch, ..., width] with a known width. Received: "
                f"input_shape={tuple(input_shape)}. Give the last axis a size in keras.Input."
            )
        self.input_spec = keras.InputSpec(min_ndim=2, axes={-1: width})
        for part, shape in (
            (self.router, (None, None, width)),
            (self.experts, (self.experts.num_experts, None, width)),
        ):
            if not part.built:  # a revived part comes built
                part.build(shape)
        self.statistics = RoutingMetric(
            self.name,
            self.experts.num_experts,
            self.router.active_losses(),
            paired=self.router.top_k > 1,
        )

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> tf.Tensor:
        inputs = dense_inputs(inputs)
        mask = mask_of(mask, inputs)
        if self.router.route_padding:
            mask = None  # what pads the last group stays masked
        tokens, mask = to_groups(inputs, mask, self.group_size, self.group_by_row)  # [G, S, D]
        plan = self.router(tokens, mask=mask, training=training)
        record(self.statistics, self.path, plan)
        if training is not None:  # neither in a plain call nor in an exported graph
            refuse_recomputing(self)
            count_plan(self.statistics, plan, training)
        rows = plan.dispatch(tokens)  # [E, G * C, D], or as the layout says
        outputs = self.experts(rows, layout=plan.layout, training=training)
        outputs = from_groups(plan.combine(outputs), inputs)
        return keras.ops.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return self.experts.compute_output_shape(input_shape)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "router": keras.saving.serialize_keras_object(self.router),
            "experts": keras.saving.serialize_keras_object(self.experts),
            "group_size": self.group_size,
            "group_by_row": self.group_by_row,
        }

    @classmethod
    def from_config(cls, config: dict) -> Any:
        parts = {
            part: keras.saving.deserialize_keras_object(config[part])
            for part in ("router", "experts")
        }
        return cls(**{**config, **parts})
