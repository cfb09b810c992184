"""Keras' own test of a layer, wrapped once because its import path is private.

It checks the configuration's round trip through JSON, eager against symbolic shapes and dtypes, a
compiled `fit`, mixed precision, and the numbers of weights, seeds and losses.
"""

from collections.abc import Mapping

import pytest


class MadeAnew(Mapping):
    """Arguments of a layer, made for each layer anew, since a part belongs to one layer alone."""

    def __init__(self, **makers):
        self.makers = makers

    def __getitem__(self, name):
        return self.makers[name]()

    def __iter__(self):
        return iter(self.makers)

    def __len__(self):
        return len(self.makers)


def run_layer_test(layer_class, init_kwargs, **kwargs):
    """Runs Keras' `TestCase.run_layer_test` from a plain function."""
    testing = pytest.importorskip("keras.src.testing")  # wheels before 3.11 leave it out
    testing.TestCase().run_layer_test(layer_class, init_kwargs, **kwargs)
