"""What `moe_layer.py` compares: limits without a router, the library's layer, the textbook layer.

T tokens, D width, E experts, K choices (`top_k`), F hidden units of an expert, C capacity.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.plans import expert_capacity
from moe_zoo.routers import GShardRouter, SwitchRouter

DENSE, BALANCED, BALANCED_ROUTER = "dense limit", "balanced limit", "balanced limit + router matmul"
ONE_HOT = "one-hot einsum 1.25"
LAYERS = {"capacity 1.0": 1.0, "capacity 1.25": 1.25, "dropless": None}  # name: capacity factor


class Sizes(NamedTuple):
    """The work: T, D, F, E, K, and whether the layers have biases."""

    tokens: int
    width: int
    hidden: int
    num_experts: int
    top_k: int
    use_bias: bool


class Candidate(NamedTuple):
    """`forward(*inputs, training)` gives a list: outputs, then auxiliary losses if there are."""

    inputs: list[tf.Tensor]
    variables: list[tf.Variable]
    forward: Callable


def forward_step(candidate):
    """A compiled call that gives the outputs."""
    step = tf.function(lambda *inputs: candidate.forward(*inputs, training=False))
    return lambda: step(*candidate.inputs)


def train_step(candidate):
    """A compiled call that gives the outputs and all gradients; and its function, for the graph."""

    @tf.function
    def step(inputs, upstream):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = candidate.forward(*inputs, training=True)
        gradients = tape.gradient(outputs, [*inputs, *candidate.variables], upstream)
        return outputs, gradients  # without outputs the limits would be spared their last matmul

    outputs = tf.function(lambda *inputs: candidate.forward(*inputs, training=True))
    shapes = outputs.get_concrete_function(*candidate.inputs).output_shapes
    upstream = [tf.random.normal(shape) for shape in shapes]
    concrete = step.get_concrete_function(candidate.inputs, upstream)
    return (lambda: step(candidate.inputs, upstream)), concrete


def make(names, sizes) -> dict[str, Candidate]:
    """Candidates by name. They share the experts and have equal routers: all route alike."""
    tokens = tf.random.normal([sizes.tokens, sizes.width])
    experts = FeedForwardExperts(sizes.num_experts, sizes.hidden, use_bias=sizes.use_bias)
    experts.build((sizes.num_experts, None, sizes.width))
    kernel = moe_layer(sizes, experts, 1.0, tokens).router.kernel
    found = {}
    for name in names:
        if name == DENSE:
            found[name] = dense_limit(sizes, tokens)
        elif name in (BALANCED, BALANCED_ROUTER):
            router = [kernel] if name == BALANCED_ROUTER else []
            found[name] = balanced_limit(sizes, experts, router, tokens)
        elif name == ONE_HOT:
            found[name] = one_hot_einsum(sizes, experts, kernel, tokens)
        else:
            layer = moe_layer(sizes, experts, LAYERS[name], tokens)
            layer.router.kernel.assign(kernel)
            found[name] = Candidate([tokens], layer.trainable_variables, calls(layer))
    return found


def dense_limit(sizes, tokens):
    """`relu(x W) V` with `W[D, K F]`: the same products as the K experts of every token."""
    layer = FeedForwardExperts(1, sizes.top_k * sizes.hidden, use_bias=sizes.use_bias)
    layer.build((1, None, sizes.width))
    kernels = [tf.Variable(kernel[0]) for kernel in (layer.kernel_in, layer.kernel_out)]
    biases = [tf.Variable(tf.zeros(kernel.shape[1])) for kernel in kernels if sizes.use_bias]

    def forward(tokens, training):
        hidden = tf.matmul(tokens, kernels[0])
        hidden = tf.nn.relu(tf.nn.bias_add(hidden, biases[0]) if biases else hidden)
        outputs = tf.matmul(hidden, kernels[1])
        return [tf.nn.bias_add(outputs, biases[1]) if biases else outputs]

    return Candidate([tokens], [*kernels, *biases], forward)


def balanced_limit(sizes, experts, router, tokens):
    """The experts alone on `[E, K T / E, D]`, the fair share of each; and a router's matmul."""
    share = -(-sizes.top_k * sizes.tokens // sizes.num_experts)
    slots = tf.random.normal([sizes.num_experts, share, sizes.width])

    def forward(slots, tokens, training):
        return [experts(slots, training=training), *(tf.matmul(tokens, w) for w in router)]

    weights = [*experts.trainable_variables, *(kernel.value for kernel in router)]
    return Candidate([slots, tokens], weights, forward)


def moe_layer(sizes, experts, factor, tokens):
    """The library's layer with the router of GShard (K > 1) or Switch; both have a balance loss."""
    factors = {"capacity_factor": factor, "eval_capacity_factor": factor}
    if sizes.top_k == 1:
        router = SwitchRouter(**factors)
    else:  # "all": the same number of products as the dense limit
        router = GShardRouter(sizes.top_k, second_expert_policy="all", **factors)
    own = FeedForwardExperts.from_config(experts.get_config())
    layer = MoE(router, own)
    layer(tokens[:1])
    own.set_weights(experts.get_weights())
    return layer


def calls(layer):
    """The layer as a candidate's `forward`."""
    return lambda tokens, training: [layer(tokens, training=training), *layer.losses]


def one_hot_einsum(sizes, experts, kernel, tokens):
    """The textbook layer, which dispatches and combines by products with `[T, E, C]`.

    Lepikhin et al. 2021, Algorithm 2, with all second choices admitted.
    """
    top_k, num_experts = sizes.top_k, sizes.num_experts
    capacity = expert_capacity(sizes.tokens, num_experts, top_k, 1.25, min_capacity=4)

    def forward(tokens, training):
        gates, index = tf.math.top_k(tf.nn.softmax(tf.matmul(tokens, kernel)), top_k)
        if top_k > 1:
            gates /= tf.reduce_sum(gates, -1, keepdims=True)
        chosen = tf.one_hot(tf.transpose(index), num_experts)  # [K, T, E]
        queue = tf.reshape(chosen, [-1, num_experts])
        place = tf.reduce_sum(tf.cumsum(queue, exclusive=True) * queue, -1)
        slot = tf.one_hot(tf.cast(place, tf.int32), capacity)  # zeros where the expert is full
        slot = tf.reshape(slot, [top_k, -1, capacity])
        combine = tf.einsum("tk,kte,ktc->tec", gates, chosen, slot)
        dispatch = tf.cast(combine > 0, tokens.dtype)
        outputs = experts(tf.einsum("tec,td->ecd", dispatch, tokens), training=training)
        return [tf.einsum("tec,ecd->td", combine, outputs)]

    return Candidate([tokens], [*experts.trainable_variables, kernel.value], forward)
