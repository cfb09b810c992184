"""Feed-forward layers against loops, and against one expert."""

import numpy as np
import pytest

from layer_test import run_layer_test
from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.models.transformer import FeedForward, GatedFeedForward
from moe_zoo.models.transformer.hidden_layer import HiddenLayer
from reference import transformer as reference
from small_transformers import randomize

B, T, D, F = 2, 5, 12, 11


def rows():
    return np.random.default_rng(2).normal(size=(B, T, D)).astype("float32")


@pytest.mark.parametrize("kind", [FeedForward, GatedFeedForward])
@pytest.mark.parametrize("use_bias", [False, True])
def test_feed_forward(kind, use_bias):
    layer = kind(F, use_bias=use_bias)
    layer.build((None, None, D))
    randomize(layer)
    found = layer(rows())
    expected = reference.feed_forward(reference.weights_of(layer), rows().astype(float))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "experts", "names"),
    [
        (FeedForward, FeedForwardExperts, {"hidden": "in", "out": "out"}),
        (GatedFeedForward, GatedExperts, {"gate": "gate", "hidden": "in", "out": "out"}),
    ],
)
def test_one_expert_is_the_dense_layer(kind, experts, names):
    dense, twin = kind(F), experts(1, F, use_bias=False)
    dense.build((None, D))
    twin.build((1, None, D))
    for name, end in names.items():
        getattr(twin, f"kernel_{end}").assign(getattr(dense, name).kernel.numpy()[None])
    np.testing.assert_allclose(dense(rows()[0]), twin(rows()[:1])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [FeedForward, GatedFeedForward])
def test_keras_own_checks_of_feed_forward_layers(kind):
    run_layer_test(
        kind,
        {"hidden_dim": F, "use_bias": True, "dropout": 0.25, "activation": "tanh"},
        input_shape=(2, 5, D),
        expected_output_shape=(2, 5, D),
        expected_num_trainable_weights=4 if kind is FeedForward else 6,
        expected_num_seed_generators=1,
        run_training_check=False,
    )


def test_feed_forward_layers_that_cannot_be():
    with pytest.raises(ValueError, match=r"at least 1\. Received: hidden_dim=0\."):
        FeedForward(0)
    with pytest.raises(ValueError, match=r"Received: dropout=-0\.1\."):
        GatedFeedForward(F, dropout=-0.1)
    with pytest.raises(NotImplementedError, match=r"has to define build_hidden\(\)"):
        HiddenLayer(F).build((None, D))
    with pytest.raises(NotImplementedError, match=r"has to define hidden_of\(\)"):
        HiddenLayer(F).hidden_of(None)
