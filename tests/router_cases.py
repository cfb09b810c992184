"""Routers and their plans of given logits, for the tests of routers."""

import numpy as np
import tensorflow as tf

from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SwitchRouter

S, E = 11, 5
EXACT = {"kernel_initializer": "identity", "jitter": 0.0, "min_capacity": 1}
ONE_OF_EACH = [
    (SwitchRouter, {}),
    (NoisyTopKRouter, {"top_k": 2}),
    (GShardRouter, {"second_expert_policy": "threshold", "second_expert_threshold": 0.37}),
]
ROUTERS = [
    *ONE_OF_EACH,
    (SwitchRouter, {"top_k": 3}),
    (NoisyTopKRouter, {"top_k": E}),
    (GShardRouter, {"second_expert_policy": "all"}),
    (GShardRouter, {"second_expert_policy": "none"}),
]
STOCHASTIC = [
    (NoisyTopKRouter, {}),
    (SwitchRouter, {"jitter": 0.3, "kernel_initializer": "identity"}),
    (GShardRouter, {"kernel_initializer": "identity"}),
    (GShardRouter, {"kernel_initializer": "identity", "second_expert_policy": "sampling"}),
]


def route(router_class, logits, mask=None, training=False, **kwargs):
    """The plan for logits [S, E], with one factor for training and evaluation."""
    factor = kwargs.pop("capacity_factor", 1.0)
    router = router_class(
        num_experts=logits.shape[-1],
        capacity_factor=factor,
        eval_capacity_factor=factor,
        **{**EXACT, **kwargs},
    )
    mask = None if mask is None else tf.constant(np.asarray(mask)[None])
    return router(tf.constant(logits[None], tf.float32), mask=mask, training=training)
