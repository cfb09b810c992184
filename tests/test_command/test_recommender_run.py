"""The recommender's recipe: what it shows, keeps and makes."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from moe_zoo.stats import routing_stats
from moe_zoo.training.datasets.synthetic_data import synthetic_data
from moe_zoo.training.recipes.recommender.model import make_recommender
from moe_zoo.training.recipes.recommender.recipe import RecommenderRecipe
from moe_zoo.training.recipes.recommender.settings import MIXINGS, RecommenderSettings
from moe_zoo.training.recipes.recommender.sources import read_source
from moe_zoo.training.runs.run import BEST, Run
from routing_events import read

TINY = RecommenderSettings(
    num_experts=5, expert_units="4", tower_units="3", rows=200, epochs=2, batch_size=32
)
TABLE = "age,city,genres,click,rating\n" + "".join(
    f"{20 + i % 50},{'Rome' if i % 3 else 'Oslo'},{'a|b' if i % 2 else ''},{i % 2},{i % 5}\n"
    for i in range(300)
)


def run(folder, settings=TINY, data=None, lines=None, mixings=()):
    say = (lines if lines is not None else []).append
    data = data or synthetic_data(dim=7, rows={"train": 200, "validation": 40, "test": 200})
    return Run(RecommenderRecipe(settings, data, mixings), folder, show=say, progress=False)


def table(tmp_path, settings=TINY, tasks=("click:binary", "rating:regression")):
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8")
    features = ["age:number", "city:category", "genres:list"]
    return read_source(settings, str(path), features=features, tasks=tasks)


def test_the_default_data_are_the_paper_s_tasks():
    data = read_source(TINY, "synthetic")
    assert len(data.features) == 100 and list(data.tasks) == ["first", "second"]
    assert data.rows == {"train": 200, "validation": 40, "test": 200}


@pytest.mark.slow
def test_all_mixings_in_one_table(tmp_path):
    lines = []
    rows = run(tmp_path / "run", lines=lines, mixings=MIXINGS).train_all()
    shown = "\n".join(lines)
    results = dict(zip(MIXINGS, rows, strict=True))
    for name in MIXINGS:
        rmse = results[name]["metrics"]["first"]["rmse"]
        assert f"{rmse:.4f}" in next(x for x in shown.splitlines() if x.startswith(f"{name} "))
    assert set(results["mmoe"]["gates"]) == {"mmoe_first", "mmoe_second"}
    for gates in results["mmoe"]["gates"].values():
        assert sum(gates) == pytest.approx(1.0, abs=1e-5)
    assert "Mean gate of each expert, mmoe" in shown
    rows = (tmp_path / "run" / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * len(MIXINGS)


def test_gates_are_those_of_the_test_part_alone(tmp_path):
    work = run(tmp_path / "run")
    gates = work.train("mmoe-seed-0")[1]["gates"]
    recipe = work.recipe
    model = make_recommender("mmoe", TINY, recipe.encoder, recipe.tasks, seed=0)
    model.core.load_weights(tmp_path / "run" / "mmoe-seed-0" / BEST)
    for x, _ in recipe.batches("test"):
        model.core(x, training=False)
    for name, stats in routing_stats(model.core, training=False).items():
        assert stats.tokens == 200
        np.testing.assert_allclose(gates[name], stats.importance / 200, rtol=1e-6)


@pytest.mark.parametrize("stream_rows", [10**6, 10])
def test_rows_of_the_validation_part_show_their_gates(stream_rows, tmp_path):
    settings = dataclasses.replace(TINY, stream_rows=stream_rows, epochs=1)
    work = run(tmp_path / "run", settings, table(tmp_path, settings))
    work.train("mmoe-seed-0")
    first = next(iter(work.recipe.data.batches("validation", 16))).features
    events, _ = read(tmp_path / "run" / "logs" / "mmoe-seed-0" / "train")
    first_step, last_step = events["mmoe_click/examples"]  # after a batch, and an epoch
    assert first_step[0] == 1 < last_step[0]
    texts = json.loads(last_step[1].item())["texts"]
    assert len(texts) == len(first["age"]) > 1
    for place, (((text, choices),),) in enumerate(zip(texts, strict=True)):
        age, city = first["age"][place], first["city"][place]
        assert text.startswith(f"age {age:g}, city {city}, genres ")
        assert len(choices) == TINY.num_experts
        assert sum(gate for _, gate, _ in choices) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same(tmp_path):
    first = run(tmp_path / "a").train("ple-seed-3")[1]
    second = run(tmp_path / "b").train("ple-seed-3")[1]
    other = run(tmp_path / "c").train("ple-seed-4")[1]
    assert first["metrics"] == second["metrics"] != other["metrics"]


def test_streaming_gives_results_too(tmp_path):
    settings = dataclasses.replace(TINY, stream_rows=10)
    work = run(tmp_path / "run", settings, table(tmp_path))
    assert work.recipe.streams
    metrics = work.train("mmoe-seed-0")[1]["metrics"]
    assert 0 <= metrics["click"]["auc"] <= 1 and np.isfinite(metrics["rating"]["rmse"])


def test_what_is_saved_serves_raw_rows(tmp_path):
    run(tmp_path / "run", data=table(tmp_path)).train_all()
    code = f"""
import json, sys, tensorflow as tf
served = tf.saved_model.load({str(tmp_path / "run" / "saved_model")!r})
rows = dict(age=tf.constant([30.0, 40.0]), city=tf.constant(["Rome", "Atlantis"]))
rows["genres"] = tf.constant(["a|b", ""])  # as in the file
print(json.dumps({{k: v.numpy().tolist() for k, v in served.serve(rows).items()}}))
assert not [name for name in sys.modules if name.startswith("moe_zoo")]
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    served = json.loads(result.stdout.splitlines()[-1])
    import keras

    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    x = {"age": [30.0, 40.0], "city": ["Rome", "Atlantis"], "genres": [["a", "b"], ["", ""]]}
    for name, values in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(values, served[name], atol=1e-6)


def test_another_run_s_folder_is_refused(tmp_path):
    run(tmp_path / "run").train("shared_bottom-seed-0")
    run(tmp_path / "run", dataclasses.replace(TINY, mixing="ple"))  # joins
    with pytest.raises(ValueError, match="epochs: 2 there, 3 now"):
        run(tmp_path / "run", dataclasses.replace(TINY, epochs=3))


def test_other_labels_or_other_values_are_another_run(tmp_path):
    """Each rule, and each change of a file, that could give another result."""
    run(
        tmp_path / "run", data=table(tmp_path, tasks=["hit:binary:column=rating,at_least=4"])
    ).train("shared_bottom-seed-0")
    with pytest.raises(ValueError, match="checksum"):
        run(tmp_path / "run", data=table(tmp_path, tasks=["hit:binary:column=rating,at_least=2"]))
    with pytest.raises(ValueError, match="tasks"):
        run(tmp_path / "run", data=table(tmp_path, tasks=["click:binary"]))
    (tmp_path / "table.csv").write_text(TABLE.replace("Oslo", "Bath", 1))
    data = read_source(
        TINY,
        str(tmp_path / "table.csv"),
        features=["age:number", "city:category", "genres:list"],
        tasks=["hit:binary:column=rating,at_least=4"],
    )
    with pytest.raises(ValueError, match="checksum"):
        run(tmp_path / "run", data=data)


def test_with_learned_weights_epochs_are_judged_by_the_first_task(tmp_path):
    settings = dataclasses.replace(TINY, uncertainty_weights=True)
    work = run(tmp_path / "run", settings, table(tmp_path))
    _, result = work.train("mmoe-seed-0")
    losses = [epoch["val_click_log_loss"] for epoch in result["history"]]
    assert len(losses) == 2 and work.recipe.monitor == "val_click_log_loss"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "sensus"}, "Received: data='sensus', which is neither"),
        ({"data": "adult", "tasks": ["x:binary"]}, "which has its own. Leave them out"),
        ({"data": "synthetic", "path": "x"}, "Received: path='x' for data='synthetic'. Leave it"),
        ({"data": "x.csv", "path": "x"}, "Received: path='x' for data='x.csv'. Leave it out, or"),
    ],
)
def test_sources_that_cannot_be(options, words):
    with pytest.raises((ValueError, OSError), match=".*") as caught:
        read_source(TINY, **options)
    assert words in str(caught.value)
