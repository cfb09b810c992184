"""The Transformer language model's recipe."""

import json
import math

import keras
import numpy as np
import pytest

from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SwitchRouter
from moe_zoo.training.cli import main
from moe_zoo.training.optim.optimizers import optimizer_by_name
from moe_zoo.training.optim.schedules import schedule_by_name
from moe_zoo.training.recipes.transformer_lm.recipe import (
    check_settings,
    make_dense_baseline,
    make_model,
)
from moe_zoo.training.recipes.transformer_lm.settings import TransformerLMSettings
from moe_zoo.training.recipes.transformer_parts import check_routers, set_capacities
from moe_zoo.training.runs.finished_run import load_from_folder

V = 300
TINY = {
    "width": 8,
    "num_heads": 2,
    "num_layers": 2,
    "num_experts": 4,
    "vocabulary_size": V,
    "batch_size": 3,
    "sequence_length": 7,
    "steps": 4,
    "steps_per_epoch": 2,
    "warmup_steps": 2,
}


def settings(**kwargs):
    return TransformerLMSettings(**{**TINY, **kwargs})


def layers_of(model, kind):
    return [layer for layer in model._flatten_layers() if isinstance(layer, kind)]


@pytest.mark.parametrize(
    ("options", "router", "experts", "hidden_dim"),
    [
        ({}, SwitchRouter, FeedForwardExperts, 32),
        ({"router": "gshard", "feed_forward": "swiglu"}, GShardRouter, GatedExperts, 16),
        ({"router": "noisy_top_k", "hidden_dim": 22}, NoisyTopKRouter, FeedForwardExperts, 11),
        ({"top_k": 2, "expert_hidden_dim": 5}, SwitchRouter, FeedForwardExperts, 5),
    ],
)
def test_the_mixture_is_as_the_settings_say(options, router, experts, hidden_dim):
    chosen = settings(jitter=0.02, z_loss_weight=0.003, expert_dropout=0.25, **options)
    (moe,) = layers_of(make_model(chosen, V), MoE)
    assert isinstance(moe.router, router) and isinstance(moe.experts, experts)
    assert moe.experts.hidden_dim == hidden_dim and moe.experts.num_experts == 4
    assert moe.experts.dropout.rate == 0.25
    assert (moe.router.jitter, moe.router.z_loss_weight) == (0.02, 0.003)
    assert moe.router.capacity_factor is None and moe.router.eval_capacity_factor is None
    twin = make_dense_baseline(chosen, V)
    assert not layers_of(twin, MoE) and twin.name == "dense"
    wanted = moe.router.top_k * hidden_dim
    found = [block.feed_forward.hidden_dim for block in twin.decoder.blocks]
    assert found == [chosen.hidden_dim or 32, wanted]


@pytest.mark.parametrize("name", ["adamw", "adam", "adafactor", "factored_adam"])
def test_every_optimizer_learns(name):
    rate = schedule_by_name("inverse_sqrt" if name == "adam" else "cosine", 0.05, 5, 60)
    optimizer = optimizer_by_name(name, rate, clip_norm=1.0, weight_decay=0.001)
    assert type(optimizer).__name__.lower() == name.replace("_", "")
    assert optimizer.global_clipnorm == 1.0
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer, "mse", run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    losses = [model.train_on_batch(x, x[:, :2]) for _ in range(50)]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        # Warm-up to 0.1 in 10 steps; then half a cosine to 5 percent of it, or 1 / sqrt(step).
        ("cosine", {0: 0.0, 5: 0.05, 10: 0.1, 60: 0.0525, 110: 0.005}),
        ("inverse_sqrt", {0: 0.01, 9: 0.1, 39: 0.05, 249: 0.02}),
    ],
)
def test_schedules_by_name(name, rates):
    schedule = schedule_by_name(name, 0.1, warmup_steps=10, steps=110)
    for step, rate in rates.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5)


def test_capacities_on_a_mesh_and_off():
    model = set_capacities(make_model(settings(), V), settings(), on_mesh=True)
    (moe,) = layers_of(model, MoE)
    assert (moe.router.capacity_factor, moe.router.eval_capacity_factor) == (1.25, 2.0)
    set_capacities(model, settings(capacity_factor=1.5), on_mesh=True)
    assert (moe.router.capacity_factor, moe.router.eval_capacity_factor) == (1.5, 2.0)
    set_capacities(model, settings(capacity_factor=1.5))
    assert (moe.router.capacity_factor, moe.router.eval_capacity_factor) == (1.5, None)


def test_initial_scale_and_precision():
    model = make_model(settings(width=64, init_scale=0.1, precision="mixed_bfloat16"), V)
    kernel = model.decoder.blocks[0].attention.query.kernel
    # Cut at two deviations, as the initializer makes up for; 4,096 draws.
    np.testing.assert_allclose(np.std(kernel.numpy()), math.sqrt(0.1 / 64), rtol=0.06)
    assert model.dtype_policy.name == "mixed_bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    (moe,) = layers_of(model, MoE)
    assert moe.compute_dtype == "bfloat16" and moe.router.compute_dtype == "float32"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 10}, r"Expected a width that twice num_heads=2 divides\. Received: width=10"),
        ({"num_layers": 0}, r"Received: num_layers=0\."),
        ({"sequence_length": 0}, r"Received: sequence_length=0\."),
        ({"dropout": 1.0}, r"Received: dropout=1\.0\."),
        (
            {"router": "best"},
            r"one of switch, gshard, noisy_top_k, dense\. Received: router='best'",
        ),
        ({"steps": 7}, r"multiple of steps_per_epoch=2\. Received: steps=7\. Take 6"),
        ({"init_scale": 0.0}, r"Received: init_scale=0\.0"),
    ],
)
def test_settings_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        settings(**wrong)


def test_settings_that_fit_no_model():
    with pytest.raises(ValueError, match=r"top_k <= num_experts\. Received: top_k=5"):
        check_settings(settings(top_k=5))
    with pytest.raises(ValueError, match=r"for --compare\. Received: router='dense'"):
        check_settings(settings(router="dense"), compare=True)
    one_block = settings(router="dense", num_layers=1)
    check_settings(one_block)
    with pytest.raises(ValueError, match=r"Received: router='gshard', num_layers=1, moe_every=2"):
        check_routers(one_block, ["dense", "gshard"])


@pytest.mark.slow
def test_a_run_and_what_is_done_with_it(text, tmp_path, capsys):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    arguments = ["train", "transformer_lm", f"--data={text}", f"--output={tmp_path / 'run'}"]
    assert main([*arguments, *options, "--quiet", "--compare", "--prompt", "def f"]) == 0
    shown = capsys.readouterr().out
    assert "\n    def f" in shown and "mixture's test perplexity is" in shown
    mixture, dense = json.loads((tmp_path / "run" / "results.json").read_text())["models"]
    assert (mixture["model"], dense["model"]) == ("switch", "dense")
    assert mixture["dropped_fraction"] == 0 and mixture["parameters"] > dense["parameters"]
    assert V / 10 < mixture["perplexity"] < V * 3
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(text)]) == 0
    assert "20,000 characters." in capsys.readouterr().out
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "served")]) == 0
    assert "serve, score, generate" in capsys.readouterr().out
    generate = ["generate", str(tmp_path / "run"), "--prompt", "def g(", "--max-new-tokens", "3"]
    assert main([*generate, "--num-beams", "2"]) == 0
    assert capsys.readouterr().out.startswith("def g(")
    model, tokenizer = load_from_folder(tmp_path / "run")
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    assert tokenizer.vocabulary_size == model.vocabulary_size == V
