"""The recipe in every form: precisions, routers, optimizers, schedules; and its evaluation."""

import json
import math

import keras
import numpy as np
import pytest

from moe_zoo.models import dense_block
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SwitchRouter
from moe_zoo.training.optim.optimizers import FactoredAdam
from moe_zoo.training.optim.schedules import WarmupInverseSquareRoot
from moe_zoo.training.recipes.lstm_lm.recipe import (
    LSTMRecipe,
    check_settings,
    make_dense_baseline,
    make_model,
)
from moe_zoo.training.recipes.lstm_lm.settings import LSTMSettings
from moe_zoo.training.runs.evaluation import evaluate_tokens
from moe_zoo.training.runs.run import Run

V, E, B, T = 300, 5, 3, 7
TINY = {
    "num_experts": E,
    "vocabulary_size": V,
    "batch_size": B,
    "sequence_length": T,
    "steps": 4,
    "steps_per_epoch": 2,
    "warmup_steps": 2,
}


def settings(text=None, **kwargs):
    return LSTMSettings(**{**TINY, "data": None if text is None else str(text), **kwargs})


@pytest.mark.parametrize(
    ("options", "router", "optimizer", "schedule"),
    [
        pytest.param(
            {"precision": "mixed_bfloat16", "router": "switch", "schedule": "inverse_sqrt"},
            SwitchRouter,
            keras.optimizers.Adam,
            WarmupInverseSquareRoot,
            marks=pytest.mark.slow,
        ),
        (
            {
                "precision": "mixed_float16",
                "router": "gshard",
                "optimizer": "factored_adam",
                "capacity_factor": 1.0,
            },
            GShardRouter,
            FactoredAdam,
            keras.optimizers.schedules.CosineDecay,
        ),
        pytest.param(
            {"router": "noisy_top_k", "top_k": 2, "dropout": 0.25, "clip_norm": 0.0},
            NoisyTopKRouter,
            keras.optimizers.Adam,
            keras.optimizers.schedules.CosineDecay,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["bfloat16-switch", "float16-gshard-factored", "float32-noisy"],
)
def test_a_run_of_every_form(options, router, optimizer, schedule, text, tmp_path):
    lines = []

    def run():
        recipe = LSTMRecipe(settings(text, **options))
        return Run(recipe, tmp_path / "run", show=lines.append, progress=False).train("mixture")

    model, row = run()
    moe = model.middle[0].layers[0]
    assert isinstance(moe.router, router)
    used = model.optimizer
    if options.get("precision") == "mixed_float16":
        assert isinstance(used, keras.optimizers.LossScaleOptimizer)
        used = used.inner_optimizer
    assert isinstance(used, optimizer)
    assert isinstance(used._learning_rate, schedule)
    assert used.global_clipnorm == (None if options.get("clip_norm") == 0 else 1.0)
    precision = options.get("precision", "float32")
    assert moe.compute_dtype == model.logits.compute_dtype == precision.removeprefix("mixed_")
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}

    assert [len(row["history"]), row["parameters"]] == [2, model.count_params()]
    for epoch in row["history"]:
        for name in ("loss", "task_loss", "val_loss", "perplexity", "seconds"):
            assert math.isfinite(epoch[name]), name
        assert epoch["moe_dropped_fraction"] == 0 or "capacity_factor" in options
    # Untrained it is the number of pieces; four steps cannot go far, nor wrong.
    assert V / 3 < row["perplexity"] < V * 1.5
    assert row["dropped_fraction"] == 0 and row["dropless_test"]
    assert row["training_dropped_fraction"] == row["history"][-1]["moe_dropped_fraction"]
    assert row["tokens_per_second"] > 0

    again, row_again = run()
    assert row_again == row  # nothing was trained or evaluated
    assert again.logits.compute_dtype == model.logits.compute_dtype


def test_evaluation_is_the_mean_over_all_tokens_but_the_first(text):
    model = make_model(settings(), V)
    stream = np.random.default_rng(1).integers(0, V, 53).astype("int32")  # 2.5 batches of 21
    row = evaluate_tokens(model, stream, 101, B, T)
    total = 0.0
    for start in range(0, 52, T):  # windows start without a memory
        window = stream[start : start + T + 1]
        logits = np.asarray(model(window[None, :-1])[0], np.float64)
        for place, target in enumerate(window[1:]):
            total += np.log(np.sum(np.exp(logits[place]))) - logits[place, target]
    np.testing.assert_allclose(row["perplexity"], np.exp(total / 52), rtol=1e-5)
    np.testing.assert_allclose(row["bits_per_character"], total / np.log(2) / 101, rtol=1e-5)
    assert row["dropped_fraction"] == 0


def test_the_dense_baseline_computes_as_much_and_has_the_rest_alike():
    chosen = settings(top_k=3, dropout=0.25)
    mixture, twin = make_model(chosen, V), make_dense_baseline(chosen, V)
    assert [w.shape for w in twin.middle[0].weights] == [
        w.shape for w in built(dense_block([3 * 256], 128)).weights
    ]
    assert twin.dropout == mixture.dropout == 0.25
    for layer in ("embedding", "logits"):
        shapes = [[w.shape for w in getattr(model, layer).weights] for model in (mixture, twin)]
        assert shapes[0] == shapes[1]
    rates = [float(model.optimizer._learning_rate(3)) for model in (mixture, twin)]
    assert rates[0] == rates[1]


def built(layer):
    layer.build((None, None, 128))
    return layer


def test_the_seed_decides_the_first_weights():
    first, same = make_model(settings(), V), make_model(settings(), V)
    other = make_model(settings(seed=1), V)
    for a, b in zip(first.weights, same.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert np.any(first.embedding.embeddings.numpy() != other.embedding.embeddings.numpy())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, r"whole number of at least 1\. Received: steps=0\."),
        ({"batch_size": -2}, r"Received: batch_size=-2\."),
        ({"sequence_length": 0}, r"Received: sequence_length=0\."),
        ({"num_experts": 0}, r"Received: num_experts=0\."),
        ({"top_k": 0}, r"Received: top_k=0\."),
        ({"top_k": -1}, r"Received: top_k=-1\."),
        ({"seed": -1}, r"Received: seed=-1\."),
        ({"warmup_steps": -1}, r"Received: warmup_steps=-1\."),
        ({"vocabulary_size": 258}, r"at least 259\. Received: vocabulary_size=258\."),
        ({"learning_rate": math.nan}, r"Received: learning_rate=nan\."),
        ({"dropout": 1.0}, r"Expected a rate in \[0, 1\)\. Received: dropout=1\.0\."),
        ({"capacity_factor": 0.0}, r"positive factor.* Received: capacity_factor=0\.0\."),
        ({"steps": 7}, r"multiple of steps_per_epoch=2\. Received: steps=7\. Take 6"),
        ({"router": "best"}, r"one of switch, gshard, noisy_top_k\. Received: router='best'\."),
        ({"precision": "int4"}, r"Received: precision='int4'\. The default is 'float32'"),
    ],
)
def test_settings_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        settings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "compare", "message"),
    [
        ({"top_k": 6}, False, r"Expected top_k <= num_experts\. Received: top_k=6, num_experts=5"),
        ({"preset": "moe_33"}, False, r"Received: preset='moe_33'\. Did you mean 'moe_32'"),
        (
            {"preset": "4xlstm"},
            False,
            r"for num_experts=5\. Received: preset='4xlstm', which is a dense",
        ),
        (
            {"preset": "4xlstm", "num_experts": None},
            True,
            r"for --compare\. Received: preset='4xlstm', which is a dense baseline",
        ),
    ],
)
def test_settings_that_fit_no_model(wrong, compare, message):
    with pytest.raises(ValueError, match=message):
        check_settings(settings(**wrong), compare)


def test_nothing_is_left_where_settings_fit_no_model(text, tmp_path):
    with pytest.raises(ValueError, match="Expected top_k <= num_experts"):
        Run(LSTMRecipe(settings(text, top_k=6)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_tokens_for_a_batch_and_another_attempt(text, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text(text.read_text()[:2500])
    run = Run(LSTMRecipe(settings(short, batch_size=1000)), tmp_path / "run", show=list)
    with pytest.raises(ValueError, match=r"at least 7,000 tokens, one batch of 1000 windows of 7"):
        run.train("mixture")
    # The folder holds nothing of worth, so other settings may have it, with their own vocabulary.
    run = Run(LSTMRecipe(settings(text, vocabulary_size=270)), tmp_path / "run", show=list)
    assert run.recipe.tokenizer.vocabulary_size == 270
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["vocabulary_size"] == 270
