"""The base of all routers."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from moe_zoo import losses
from moe_zoo.plans import Plan
from moe_zoo.recomputing import refuse_recomputing
from moe_zoo.validation import check_at_least, check_bool, check_int, check_rate

from .choices import Choices
from .scorer import Scorer, check_finite, on_each_device


def jitter(tokens: tf.Tensor, epsilon: float, seed: tf.Tensor) -> tf.Tensor:
    """Multiply by uniform noise from `[1 - epsilon, 1 + epsilon]` (Fedus et al. 2022)."""
    noise = tf.random.stateless_uniform(tf.shape(tokens), seed, 1.0 - epsilon, 1.0 + epsilon)
    return tokens * on_each_device(noise)


class Router(Scorer):
    """Decides which experts compute which token. Subclasses fill in `route` and `plan`.

    Args:
        jitter: `float`, relative width of the multiplicative noise on the router's own input, in
            training.
        z_loss_weight: `float`, weight of the z-loss (Zoph et al. 2022).
        kernel_initializer: Keras initializer of the gate matrix.
        num_experts: `int`, E. An `MoE` layer sets it; give it to use a router alone.
        route_padding: `bool`, an `MoE` layer gives masked tokens to the router like all others:
            they take slots and count in losses and statistics, as in published Switch Transformers.
        seed: `int` or `None`, of the noise.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Call arguments:
        tokens: `<float>[G, S, D]`.
        mask: `<bool>[G, S]` or `None`. A token whose mask is false takes no slot and counts in no
            loss.
        training: `bool`.

    Returns:
        A plan: `RoutingPlan`, `DroplessPlan` or `DensePlan`.
    """

    loss_names: tuple[str, ...] = ("z_loss",)
    num_experts: Any  # `int`; `None` as long as it is not known
    top_k = 1
    looks_ahead = False  # whether a token's experts depend on later tokens: not for a causal model

    def __init__(
        self,
        jitter: float = 0.0,
        z_loss_weight: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        num_experts: int | None = None,
        route_padding: bool = False,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(kernel_initializer, seed, name, **kwargs)
        self.supports_masking = True
        self.jitter = check_rate("jitter", jitter)
        self.z_loss_weight = check_at_least("z_loss_weight", z_loss_weight, 0.0)
        self.num_experts = None if num_experts is None else check_int("num_experts", num_experts, 1)
        self.route_padding = check_bool("route_padding", route_padding)

    @property
    def experts_per_token(self) -> int:
        """Number of experts that compute a token."""
        return self.top_k

    def set_num_experts(self, num_experts: int) -> None:
        """Fix E.

        Args:
            num_experts: `int`, E.

        Raises:
            ValueError: If E is fixed to another number, or is below `top_k`.
        """
        if self.num_experts not in (None, num_experts):
            raise ValueError(
                f"Expected a router for num_experts={num_experts}. Received: a router whose "
                f"num_experts={self.num_experts}. Give each MoE layer a router of its own."
            )
        if self.top_k > num_experts:
            raise ValueError(
                f"Expected top_k <= num_experts. Received: top_k={self.top_k}, "
                f"num_experts={num_experts}. Lower top_k or add experts."
            )
        self.num_experts = num_experts

    def build(self, input_shape: tuple) -> None:
        if self.num_experts is None:
            raise ValueError(
                "Expected a router that knows its experts. Received: num_experts=None. "
                "Put it into an MoE layer, or give num_experts to use it alone."
            )
        self.set_num_experts(self.num_experts)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.num_experts),
            initializer=self.kernel_initializer,
        )

    def route(self, tokens: tf.Tensor, mask: tf.Tensor | None, training: bool | None) -> Choices:
        """Choose experts and gates for `<float32>[G, S, D]` tokens."""
        raise NotImplementedError(f"{type(self).__name__} has to define route().")

    def plan(self, choices: Choices, mask: tf.Tensor | None, training: bool | None) -> Plan:
        """Make the choices a plan that can dispatch and combine."""
        raise NotImplementedError(f"{type(self).__name__} has to define plan().")

    def dropless(self, training: bool) -> bool:
        """Return whether experts have no capacity. A router with capacities overrides this.

        Args:
            training: `bool`, in training or in evaluation.
        """
        return True

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Drop no token within this context, so that an output does not depend on other rows.

        A router with capacities overrides this.
        """
        yield

    def logits(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return `x W`: `<float32>[G, S, D]` -> `<float32>[G, S, E]`."""
        return tf.matmul(tokens, tf.convert_to_tensor(self.kernel))

    def call(
        self, tokens: tf.Tensor, mask: tf.Tensor | None = None, training: bool | None = False
    ) -> Plan:
        if training:
            refuse_recomputing(self)
        tokens = tf.cast(tokens, tf.float32)
        if mask is not None:
            tokens = tf.where(tf.expand_dims(mask, -1), tokens, 0.0)
        if training and self.jitter:
            tokens = jitter(tokens, self.jitter, self.seed_generator.next())
        choices = self.route(tokens, mask, training)
        gates = check_finite("router", choices.logits, choices.gates, self.path)
        z_loss = {"z_loss": lambda: losses.z_loss(choices.logits, mask)}
        weighted = self.add_losses({**choices.losses, **z_loss}, training)
        return self.plan(choices._replace(gates=gates, losses=weighted), mask, training)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "jitter": self.jitter,
            "z_loss_weight": self.z_loss_weight,
            "num_experts": self.num_experts,
            "route_padding": self.route_padding,
        }
