"""A small `MoE` layer of any router, for the tests of the layer."""

import numpy as np
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter

D, E, F = 5, 3, 7
ROUTERS = [SwitchRouter, GShardRouter, NoisyTopKRouter, SoftmaxRouter]
SPARSE = ROUTERS[:3]


def moe(router, experts=None, **kwargs):
    return MoE(router, experts or FeedForwardExperts(E, F), **kwargs)


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def randomize(layer, seed=1):
    """Weights that are not zero, the router's and the biases included."""
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 3)
    return layer


def randomize_built(layer):
    layer.build((None, None, D))
    return randomize(layer)
