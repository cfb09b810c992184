"""Routers, experts, gates and sub-layers belong to one layer."""

import copy
import re

import keras
import numpy as np
import pytest

from moe_zoo.experts import FeedForwardExperts, HeterogeneousExperts, MLPExperts
from moe_zoo.gates import SoftmaxGate
from moe_zoo.layers import CGC, PLE, MMoE, MoE
from moe_zoo.models import LSTMLanguageModel, MultiTaskRecommender, RecommenderCore
from moe_zoo.models.recommender.features import Number
from moe_zoo.models.recommender.tasks import BinaryTask
from moe_zoo.models.text.lstm_blocks import dense_block
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.models.transformer.block import TransformerBlock
from moe_zoo.routers import SwitchRouter
from small_moe import normal

D = 5


def experts():
    return MLPExperts(3, (7,))


def pair():
    return MMoE(experts(), num_tasks=2)


def recommender(mixing, kind=MultiTaskRecommender, **scale):
    return kind({"x": Number(**scale)}, [BinaryTask("a"), BinaryTask("b")], mixing)


def core(mixing):
    return recommender(mixing, RecommenderCore, mean=0.0, variance=1.0)


# Each makes a layer of the part; the others are new.
TAKERS = {
    "router": (SwitchRouter, lambda part: MoE(part, experts())),
    "experts": (experts, lambda part: MoE(SwitchRouter(), part)),
    "experts of mmoe": (experts, lambda part: MMoE(part, num_tasks=2)),
    "gate": (SoftmaxGate, lambda part: MMoE(experts(), part, num_tasks=2)),
    "parts[1]": (experts, lambda part: HeterogeneousExperts([experts(), part])),
    "attention": (lambda: Attention(2), lambda part: TransformerBlock(part, FeedForward(7))),
    "feed_forward": (lambda: FeedForward(7), lambda part: TransformerBlock(Attention(2), part)),
    "cross_attention": (
        lambda: Attention(2),
        lambda part: TransformerBlock(Attention(2), FeedForward(7), part),
    ),
    "mixing": (pair, recommender),
    "mixing of core": (pair, core),
    "middle[0]": (lambda: dense_block([3], D), lambda part: LSTMLanguageModel(11, D, [part])),
}


@pytest.mark.parametrize("argument", TAKERS)
def test_a_second_layer_does_not_take_a_part(argument):
    make, take = TAKERS[argument]
    part = make()
    first = take(part)
    name = re.escape(argument.split(" of ")[0])
    with pytest.raises(ValueError, match=f"{name}='{part.name}'.*which '{first.name}' has"):
        take(part)
    take(copy.deepcopy(part))  # nor does a copy belong to anyone
    take(type(part).from_config(part.get_config()))
    del first
    take(part)  # its layer is gone


def test_layers_of_other_kinds_do_not_take_a_part_either():
    part = experts()
    layer = MoE(SwitchRouter(), part, name="first")
    for take in (lambda: MMoE(part, num_tasks=2), lambda: HeterogeneousExperts([part])):
        with pytest.raises(ValueError, match="which 'first' has. Give each layer parts of its own"):
            take()
    assert layer.experts is part
    twice = experts()
    with pytest.raises(ValueError, match=r"parts\[0\]=.*has as parts\[1\]"):
        HeterogeneousExperts([twice, twice])
    attention = Attention(2)
    with pytest.raises(ValueError, match="has as cross_attention"):
        TransformerBlock(attention, FeedForward(7), attention)


def test_templates_and_failed_layers_take_nothing():
    part, gate = experts(), SoftmaxGate()
    with pytest.raises(ValueError, match="Expected group_size or group_by_row"):
        MoE(SwitchRouter(), part, group_size=3, group_by_row=True)
    MMoE(part, gate, num_tasks=2)
    layers = [
        CGC(part, part, gate, num_tasks=2),
        PLE(part, part, gate=gate, num_tasks=2),
    ]  # of clones
    assert [layer(normal(4, D)).shape for layer in layers] == [(4, 2, 7)] * 2


@pytest.mark.slow
def test_a_mixing_belongs_to_a_recommender_and_then_to_its_core():
    mixing = pair()
    first = recommender(mixing)
    for adapted in (False, True):
        for take in (core, recommender, lambda x: recommender(x, mean=0.0, variance=1.0)):
            holder = first.core.name if adapted else first.name
            with pytest.raises(ValueError, match=f"mixing='mmoe'.*, which '{holder}' has. Give"):
                take(mixing)
        if not adapted:
            first.adapt({"x": [1.0, 2.0]})
    assert first.core.mixing is mixing
    del first
    assert recommender(mixing, mean=0.0, variance=1.0).core.mixing is mixing


def test_a_middle_layer_has_one_place():
    part = dense_block([3], D)
    with pytest.raises(ValueError, match=r"middle\[0\]=.*has as middle\[1\]"):
        LSTMLanguageModel(11, D, [part, part])


def test_one_layer_called_twice_and_in_two_models_stays_one(tmp_path):
    mixture = MoE(SwitchRouter(), FeedForwardExperts(3, 7))
    inputs = keras.Input((D,))
    once, twice = (keras.Model(inputs, y) for y in (mixture(inputs), mixture(mixture(inputs))))
    x = normal(4, D)
    assert keras.models.clone_model(twice).count_params() == mixture.count_params()
    twice.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for other in (loaded, copy.deepcopy(twice)):
        np.testing.assert_allclose(other(x), once(once(x)), rtol=1e-5, atol=1e-6)
    rebuilt = MoE.from_config(mixture.get_config())
    assert rebuilt.experts is not mixture.experts and rebuilt.router is not mixture.router


def test_the_tasks_of_a_layer_in_use_stay():
    layer = pair()
    core(layer)
    with pytest.raises(ValueError, match=r"Received: 'mmoe', whose tasks are \['a', 'b'\]"):
        layer.set_tasks(["a", "c"])
    layer.set_tasks(["a", "b"])
