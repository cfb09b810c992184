"""Keras' own test of a layer, wrapped once because its import path is private.

It checks the configuration's round trip through JSON, eager against symbolic shapes and dtypes, a
compiled `fit`, mixed precision, and the numbers of weights, seeds and losses.
"""

from keras.src.testing import TestCase


def run_layer_test(layer_class, init_kwargs, **kwargs):
    """Runs Keras' `TestCase.run_layer_test` from a plain function."""
    TestCase().run_layer_test(layer_class, init_kwargs, **kwargs)
