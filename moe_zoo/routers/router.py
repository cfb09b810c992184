"""What every router shares: precision, masks, jitter, capacity, losses."""

import math
from typing import NamedTuple

import keras
import tensorflow as tf

from moe_zoo import losses
from moe_zoo.plans import expert_capacity, plan_dropless, plan_with_capacity
from moe_zoo.plans.gathers import pick_scores, shape_of
from moe_zoo.recomputing import RecomputedPart, refuse_recomputing
from moe_zoo.scopes import constrain
from moe_zoo.validation import (
    check_at_least,
    check_bool,
    check_factor,
    check_int,
    check_rate,
    check_seed,
)


class Choices(NamedTuple):
    """What a routing algorithm decides, before any slot is given.

    Fields:
        experts: `<int32>[G, K, S]`, the expert of each choice; E where the token asks for none.
            `None` if every token goes to every expert.
        gates: `<float32>[G, K, S]`, the weight of that expert's output; `<float32>[G, S, E]`
            without choice.
        logits: `<float32>[G, S, E]`, without noise.
        probabilities: `<float32>[G, S, E]`, softmax of the logits.
        losses: `dict` of `<float32>[]`, weighted auxiliary losses by name.
    """

    experts: tf.Tensor | None
    gates: tf.Tensor
    logits: tf.Tensor
    probabilities: tf.Tensor
    losses: dict[str, tf.Tensor]


def top_experts(scores, top_k):
    """`<float32>[G, S, E]` -> `<int32>[G, K, S]`, the K best experts of each token, best first."""
    _, index = tf.math.top_k(tf.stop_gradient(scores), top_k)
    return tf.transpose(index, [0, 2, 1])


def scores_of(experts, scores):
    """`<float32>[G, K, S]`, the entries of `scores` (`<float32>[G, S, E]`) at `experts`."""
    return tf.transpose(pick_scores(scores, tf.transpose(experts, [0, 2, 1])), [0, 2, 1])


def on_each_device(noise):
    """The noise, drawn whole on every device of a mesh, so that the mesh does not change it."""
    return constrain(noise)


def coarse(gates):
    """The gates in steps of 2^-16, in which those that are equal but for rounding are equal.

    TensorFlow's softmax rounds by the place in the batch: of one expert it is 1 or 0.99999994.

    Example:

    >>> coarse(tf.constant([0.75, 1.0, 0.99999994])).numpy().tolist()
    [49152.0, 65536.0, 65536.0]
    """
    return tf.round(gates * 2.0**16)


def jitter(tokens, epsilon, seed):
    """Multiply by uniform noise from `[1 - epsilon, 1 + epsilon]` (Fedus et al. 2022)."""
    noise = tf.random.stateless_uniform(tf.shape(tokens), seed, 1.0 - epsilon, 1.0 + epsilon)
    return tokens * on_each_device(noise)


class Router(RecomputedPart):
    """Decides which experts compute which token. Subclasses fill in `route` and `plan`.

    Whatever the dtype policy, a router computes in float32. It never touches an expert.

    Args:
        jitter: `float`, relative width of the multiplicative noise on the router's own input, in
            training.
        z_loss_weight: `float`, weight of the z-loss (Zoph et al. 2022).
        kernel_initializer: Keras initializer of the gate matrix.
        num_experts: `int`, E. An `MoE` layer sets it; give it to use a router alone.
        route_padding: `bool`, an `MoE` layer gives masked tokens to the router like all others:
            they take slots and count in losses and statistics, as in published Switch Transformers.
        seed: `int` or `None`, of the noise.

    Call arguments:
        tokens: `<float>[G, S, D]`.
        mask: `<bool>[G, S]` or `None`. A token whose mask is false takes no slot and counts in no
            loss.
        training: `bool`.

    Returns:
        A plan: `RoutingPlan`, `DroplessPlan` or `DensePlan`.
    """

    loss_names: tuple[str, ...] = ("z_loss",)
    top_k = 1
    looks_ahead = False  # whether a token's experts depend on later tokens: not for a causal model

    def __init__(
        self,
        jitter=0.0,
        z_loss_weight=0.0,
        kernel_initializer="glorot_uniform",
        num_experts=None,
        route_padding=False,
        seed=None,
        **kwargs,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.supports_masking = True
        self.jitter = check_rate("jitter", jitter)
        self.z_loss_weight = check_at_least("z_loss_weight", z_loss_weight, 0.0)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.num_experts = None if num_experts is None else check_int("num_experts", num_experts, 1)
        self.route_padding = check_bool("route_padding", route_padding)
        self.seed = check_seed("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.seed_state = self.seed_generator.state  # a weight, so that it is saved with the others

    @property
    def experts_per_token(self):
        """How many experts compute a token."""
        return self.top_k

    def active_losses(self):
        """Names of the auxiliary losses whose weight is not zero."""
        return tuple(name for name in self.loss_names if getattr(self, f"{name}_weight"))

    def set_num_experts(self, num_experts):
        """Fix E. Raises `ValueError` if it is fixed to another number, or below `top_k`."""
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

    def build(self, input_shape):
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

    def route(self, tokens, mask, training) -> Choices:
        """Choose experts and gates for `<float32>[G, S, D]` tokens."""
        raise NotImplementedError(f"{type(self).__name__} has to define route().")

    def plan(self, choices, mask, training):
        """Make the choices a plan that can dispatch and combine."""
        raise NotImplementedError(f"{type(self).__name__} has to define plan().")

    def logits(self, tokens):
        """`x W`: `<float32>[G, S, D]` -> `<float32>[G, S, E]`."""
        return tf.matmul(tokens, tf.convert_to_tensor(self.kernel))

    def call(self, tokens, mask=None, training=False):
        if training:
            refuse_recomputing(self)
        tokens = tf.cast(tokens, tf.float32)
        if mask is not None:
            tokens = tf.where(tf.expand_dims(mask, -1), tokens, 0.0)
        if training and self.jitter:
            tokens = jitter(tokens, self.jitter, self.seed_generator.next())
        choices = self.route(tokens, mask, training)
        gates = check_finite("router", choices.logits, choices.gates, self.path)
        total = dict(choices.losses)
        if training and self.z_loss_weight:
            total["z_loss"] = self.z_loss_weight * losses.z_loss(choices.logits, mask)
        for value in total.values():
            self.add_loss(value)
        return self.plan(choices._replace(gates=gates, losses=total), mask, training)

    def get_config(self):
        return {
            **super().get_config(),
            "jitter": self.jitter,
            "z_loss_weight": self.z_loss_weight,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "num_experts": self.num_experts,
            "route_padding": self.route_padding,
            "seed": self.seed,
        }


class TokenChoiceRouter(Router):
    """A router in which each token chooses K experts, under a capacity or without.

    Subclasses fill in `route`.

    Args:
        top_k: `int`, K, experts per token.
        capacity_factor: `float` or `None`, slots of an expert over its fair share of the choices in
            training; `None` is dropless, which XLA and DTensor cannot run.
        eval_capacity_factor: `float` or `None`, the same for evaluation and prediction.
        min_capacity: `int`, the least number of slots of an expert in a group.
        expert_capacity: `int` or `None`, slots of an expert in a group whatever its size, in
            training and evaluation, in place of the factors.
        batch_priority: `bool`, tokens with the largest gate get their slots first, instead of token
            order (Riquelme et al. 2021), in which those with equal gates follow each other. A
            token's place then depends on later tokens: not for a causal model.
        **kwargs: arguments of `Router`.
    """

    def __init__(
        self,
        top_k,
        capacity_factor=1.25,
        eval_capacity_factor=2.0,
        min_capacity=4,
        expert_capacity=None,
        batch_priority=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.top_k = check_int("top_k", top_k, least=1)
        self.capacity_factor = check_factor("capacity_factor", capacity_factor)
        self.eval_capacity_factor = check_factor("eval_capacity_factor", eval_capacity_factor)
        self.min_capacity = check_int("min_capacity", min_capacity, least=1)
        if expert_capacity is not None:
            expert_capacity = check_int("expert_capacity", expert_capacity, least=1)
        self.expert_capacity = expert_capacity
        self.batch_priority = check_bool("batch_priority", batch_priority)
        self.supports_jit = not (self.dropless(training=True) or self.dropless(training=False))

    def dropless(self, training: bool) -> bool:
        """Whether experts have no capacity, in training or in evaluation."""
        factor = self.capacity_factor if training else self.eval_capacity_factor
        return self.expert_capacity is None and factor is None

    def plan(self, choices, mask, training):
        if mask is not None:
            real = tf.expand_dims(mask, 1)
            choices = choices._replace(
                experts=tf.where(real, choices.experts, self.num_experts),
                gates=tf.where(real, choices.gates, 0.0),
            )
        priority = coarse(tf.reduce_max(choices.gates, 1)) if self.batch_priority else None
        size = shape_of(choices.experts)[2]
        if self.expert_capacity is not None:
            known = isinstance(size, int)
            capacity = (min if known else tf.minimum)(size, self.expert_capacity)
            return plan_with_capacity(choices, self.num_experts, capacity, priority=priority)
        factor = self.capacity_factor if training else self.eval_capacity_factor
        if factor is None:
            return plan_dropless(choices, self.num_experts)
        sizing = (self.num_experts, self.top_k, factor, self.min_capacity)
        limit = None
        if mask is not None:  # padding must not buy slots for real tokens
            limit = expert_capacity(tf.reduce_sum(tf.cast(mask, tf.int32), -1), *sizing)
        capacity = expert_capacity(size, *sizing)
        return plan_with_capacity(choices, self.num_experts, capacity, limit, priority)

    def get_config(self):
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "capacity_factor": self.capacity_factor,
            "eval_capacity_factor": self.eval_capacity_factor,
            "min_capacity": self.min_capacity,
            "expert_capacity": self.expert_capacity,
            "batch_priority": self.batch_priority,
        }


def check_finite(kind, logits, gates, path):
    """The gates, unless a logit is NaN or infinite: then an error that names the layer.

    XLA leaves such checks out. There all gates of the logit's group become NaN, so that outputs and
    loss do, even if that token is dropped, and `keras.callbacks.TerminateOnNaN` sees it.
    """
    message = (
        f"The {kind} '{path}' computed a logit that is not finite. Its input or its weights hold "
        "NaN or infinity: look at the data and at the layers before it, lower the learning rate, "
        "or mask the tokens in question."
    )
    # Outside of the gradient: loss scaling relies on infinite gradients passing through.
    check = tf.debugging.check_numerics(tf.stop_gradient(logits), message)
    finite = tf.reduce_all(tf.math.is_finite(logits), [1, 2], keepdims=True)
    with tf.control_dependencies([check]):
        return tf.where(finite, gates, math.nan)
