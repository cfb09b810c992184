"""A small `MoE` layer of any router, for the tests of the layer."""

import keras
import numpy as np
import tensorflow as tf

import moe_zoo.routers
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import TokenChoiceRouter

D, E, F = 5, 3, 7
# A new router is here, and in the tests that take their cases from here, once it is exported.
EXPORTED = [getattr(moe_zoo.routers, name) for name in moe_zoo.routers.__all__]
ROUTERS = [x for x in EXPORTED if keras.saving.get_registered_name(x).startswith("moe_zoo>")]
WITH_CAPACITY = [router for router in ROUTERS if issubclass(router, TokenChoiceRouter)]


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
