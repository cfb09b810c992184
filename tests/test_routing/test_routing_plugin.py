"""The server of the routing tab: what was written arrives, and nothing else is given away."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins import base_plugin

from moe_zoo.tensorboard.plugin_loader import RoutingLoader
from moe_zoo.tensorboard.routing_series import latest
from routing_board import RunWriter, tensorboard

# 300 steps: more than the 100 (or 10) that TensorBoard keeps of a plugin that it does not know.
STEPS = list(range(7, 7 + 300))
EXAMPLES = json.dumps({"texts": [[["a\u2028</script>", [[1, 0.5, True]]]]]})
NOT_FINITE = [[1.0, float("nan"), 3.0], [float("inf"), 2.0, float("-inf")]]
ODD = {  # metadata that must be left out, whatever is in it
    "other version": '{"version": 2, "layer": "odd", "kind": "load"}',
    "no version": '{"layer": "odd", "kind": "load"}',
    "no JSON": "{",
    "no object": "[1]",
    "nothing": "",
    "unknown kind": '{"version": 1, "layer": "odd", "kind": "secret"}',
    "odd index": '{"version": 1, "layer": "odd", "kind": "load", "index": Infinity}',
    "nested": "[" * 100_000,
}


def demand_of(step):
    return [step, 2 * step, 0]


def write_run(folder):
    """`late` is written first, but stands after `early` in the model."""
    writer = RunWriter(folder)
    for step in STEPS:
        writer.write_load("late", step, demand_of(step), demand_of(step), 0.25, index=5)
        if step % 100 == 0:
            writer.write("late", "pairs", step, np.full((3, 3), step), index=5)
            writer.write("late", "examples", step, EXAMPLES, index=5)
    task = {"index": 2, "group": "mmoe", "task": "income"}
    writer.write("early", "importance", STEPS[0], [0.5, 0.125], **task)
    writer.close()


def write_odd_run(folder):
    writer = RunWriter(folder)
    for step, value in enumerate(NOT_FINITE):
        writer.write("odd", "gate_mean", step, value)
    for step, value in enumerate([[1, 2], [1, 2, 3], [[1, 2]]]):  # one of another rank
        writer.write("odd", "load", step, value)
    for name, content in ODD.items():
        writer.write_tag(name, 0, tf.ones(2), content)
    text = {"version": 1, "layer": "text", "kind": "demand"}
    writer.write_tag("text/demand", 0, tf.constant(["no", "numbers"]), json.dumps(text))
    writer.close()


def write_resumed_run(folder):
    """Stopped after step 6, resumed from step 3."""
    for steps, value in ((range(1, 7), 1), (range(4, 9), 2)):
        writer = RunWriter(folder)
        for step in steps:
            writer.write("moe", "load", step, [value, step])
        writer.close()


@pytest.fixture(
    scope="module",
    params=["true", pytest.param("false", marks=pytest.mark.slow)],
    ids=["fast loader", "slow loader"],
)
def board(request, tmp_path_factory):
    logs = tmp_path_factory.mktemp("board") / "logs"
    write_run(logs / "switch" / "train")
    write_odd_run(logs / "odd")
    write_resumed_run(logs / "resumed")
    with tensorboard(logs, f"--load_fast={request.param}") as board:
        board.wait_for(
            lambda runs: len(runs) == 3 and runs["switch/train"][-1]["last"] == STEPS[-1]
        )
        yield board


def test_layers_stand_in_the_order_of_the_model(board):
    runs = board.plugin("layers").json["runs"]
    assert set(runs) == {"switch/train", "odd", "resumed"}
    kinds = [
        "load",
        "demand",
        "importance",
        "gate_mean",
        "balance",
        "pairs",
        "health",
        "watched",
        "examples",
    ]
    assert runs["switch/train"] == [
        {
            "layer": "early",
            "index": 2,
            "group": "mmoe",
            "task": "income",
            "experts": 2,
            "kinds": ["importance"],
            "last": STEPS[0],
        },
        {
            "layer": "late",
            "index": 5,
            "group": None,
            "task": None,
            "experts": 3,
            "kinds": kinds,
            "last": STEPS[-1],
        },
    ]


def test_every_step_arrives_with_the_values_that_were_written(board):
    demand = np.array([demand_of(step) for step in STEPS])
    expected = {"load": demand, "demand": demand, "importance": demand / 4}
    expected["gate_mean"] = np.where(demand > 0, 0.25, 0)
    # A third and two thirds of the choices; deviations from the mean of 1/3, 2/3 and 0.
    cv = np.std([1, 2, 0])
    entropy = np.log(3) - 2 / 3 * np.log(2)
    expected["balance"] = np.array([[0, cv, cv, entropy, 1]] * len(STEPS))
    for kind, values in expected.items():
        series = board.plugin(f"series?run=switch/train&kind={kind}&layer=late").json["late"]
        assert series["steps"] == STEPS
        np.testing.assert_allclose(series["values"], values, rtol=1e-6, err_msg=kind)


def test_counts_are_whole_numbers_in_json(board):
    body = board.plugin("series?run=switch/train&kind=load&layer=late").body
    assert b"[[7,14,0],[8,16,0]," in body and b"." not in body


def test_texts_arrive_as_they_were_written(board):
    health = board.plugin("series?run=switch/train&kind=health").json["late"]
    assert health["steps"] == STEPS
    assert health["values"] == [["Expert 2 has computed nothing for 1,000 steps."]] * len(STEPS)
    examples = board.plugin("series?run=switch/train&kind=examples").json
    assert examples == {"late": {"steps": [100, 200, 300], "values": 3 * [EXAMPLES]}}


def test_all_layers_or_one(board):
    path = "series?run=switch/train&kind=importance"
    both = board.plugin(path).json
    assert set(both) == {"early", "late"}
    assert both["early"] == {"steps": [7], "values": [[0.5, 0.125]]}
    assert board.plugin(f"{path}&layer=early").json == {"early": both["early"]}


@pytest.mark.parametrize(
    ("at", "steps", "until"),
    [(99, [], 100), (100, [100], 200), (250, [200], 300), (9999, [300], None)],
)
def test_the_value_that_holds_at_a_step(board, at, steps, until):
    path = f"series?run=switch/train&kind=pairs&layer=late&at={at}"
    values = [[[step] * 3] * 3 for step in steps]
    expected = {"steps": steps, "values": values, "until": until}
    assert board.plugin(path).json == {"late": expected}


def test_a_resumed_run_shows_the_later_of_two_values(board):
    series = board.plugin("series?run=resumed&kind=load").json["moe"]
    assert series["steps"] == list(range(1, 9))
    assert series["values"] == [[1 if step < 4 else 2, step] for step in range(1, 9)]


def test_what_is_not_finite_becomes_null(board):
    answer = board.plugin("series?run=odd&kind=gate_mean")
    json.loads(answer.body, parse_constant=pytest.fail)  # NaN and Infinity are not JSON
    assert answer.json["odd"]["values"] == [[1, None, 3], [None, 2, None]]


def test_odd_metadata_and_values_are_left_out(board):
    odd, text = board.plugin("layers").json["runs"]["odd"]
    assert odd["layer"] == "odd" and odd["kinds"] == ["load", "gate_mean"]
    assert text["layer"] == "text" and text["kinds"] == ["demand"]
    assert board.plugin("series?run=odd&kind=demand").json == {"text": {"steps": [], "values": []}}
    series = board.plugin("series?run=odd&kind=load").json
    assert series == {"odd": {"steps": [0, 1], "values": [[1, 2], [1, 2, 3]]}}


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("series", 400, "Expected the argument 'run'. Received: none."),
        ("series?run=odd", 400, "Expected the argument 'kind'. Received: none."),
        ("series?run=evil&kind=load", 404, "Received: run='evil'."),
        ("series?run=odd&kind=evil", 404, "Received: kind='evil'."),
        ("series?run=odd&kind=pairs", 404, "a kind that the run has. Received: kind='pairs'"),
        ("series?run=odd&kind=load&layer=evil", 404, "Received: layer='evil'."),
        ("series?run=odd&kind=load&at=now", 400, "a whole number. Received: at='now'."),
        ("static/evil.js", 404, "Received: 'evil.js'."),
    ],
)
def test_unknown_things_are_refused_in_words(board, path, status, words):
    answer = board.plugin(path)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert words in answer.json["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["layers", "series?run=odd&kind=load", "static/index.js"])
def test_only_get(board, path, method):
    answer = board.plugin(path, method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET"
    assert f"Expected a GET request. Received: {method}." in answer.json["error"]


@pytest.mark.parametrize(
    ("name", "content_type", "content"),
    [
        ("index.js", "text/javascript; charset=utf-8", b"export async function render()"),
        ("page.css", "text/css; charset=utf-8", b"body {"),
    ],
)
def test_the_page_is_served(board, name, content_type, content):
    answer = board.plugin(f"static/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == content_type
    assert content in answer.body


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../plugin.py",
        "%2e%2e/plugin.py",
        "..%2fplugin.py",
        "..%5cplugin.py",
        "static/../../plugin.py",
        "sub/index.js",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "index.js%00.css",
        "plugin.py",
    ],
)
def test_nothing_beside_the_page_is_served(board, name):
    answer = board.plugin(f"static/{name}")
    assert answer.status == 404
    assert b"import" not in answer.body and b"root:" not in answer.body


def test_answers_carry_security_headers(board):
    for path in ("layers", "series?run=odd&kind=load", "series", "static/index.js"):
        assert board.plugin(path).headers["X-Content-Type-Options"] == "nosniff", path
    entry = board.get("data/plugin_entry.html?name=moe_routing")
    policy = entry.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "script-src 'self'" in policy
    script = policy.split("script-src ")[1].split(";")[0]
    assert "'unsafe-inline'" not in script and "http" not in script


def test_the_tab_is_offered(board):
    listing = board.get("data/plugins_listing").json["moe_routing"]
    assert listing["enabled"] is True
    assert listing["tab_name"] == "MoE Routing"
    assert listing["loading_mechanism"]["module_path"].endswith("/static/index.js")


def flags(*options):
    """What TensorBoard hands to the loader."""
    parser = argparse.ArgumentParser()
    parser.set_defaults(samples_per_plugin={"text": 3})
    RoutingLoader().define_flags(parser)
    return parser.parse_args(options)


@pytest.mark.parametrize(
    ("options", "kept"),
    [([], 10_000), (["--moe_routing_samples", "0"], 0), (["--moe_routing_samples=25"], 25)],
)
def test_how_many_steps_are_kept(options, kept):
    parsed = flags(*options)
    RoutingLoader().fix_flags(parsed)
    assert parsed.samples_per_plugin == {"text": 3, "moe_routing": kept}


def test_a_users_own_number_of_steps_takes_precedence():
    parsed = flags("--moe_routing_samples=25")
    parsed.samples_per_plugin["moe_routing"] = 0
    RoutingLoader().fix_flags(parsed)
    assert parsed.samples_per_plugin["moe_routing"] == 0


def test_a_negative_number_of_steps_is_refused():
    with pytest.raises(base_plugin.FlagsError, match=r"0 for all of them\. Received: --moe.*=-1\."):
        RoutingLoader().fix_flags(flags("--moe_routing_samples=-1"))


@pytest.mark.parametrize(
    ("step", "place", "until"), [(1, None, 2), (2, 0, 5), (4, 0, 5), (5, 1, None), (6, 1, None)]
)
def test_latest(step, place, until):
    steps, values = [2, 5], ["a", "b"]
    kept = slice(0, 0) if place is None else slice(place, place + 1)
    expected = {"steps": steps[kept], "values": values[kept], "until": until}
    assert latest({"steps": steps, "values": values}, step) == expected


def test_tensorboard_starts_without_tensorflow():
    program = (
        "import sys; from moe_zoo.tensorboard.plugin_loader import RoutingLoader\n"
        "from tensorboard.plugins.base_plugin import TBContext\n"
        "RoutingLoader().load(TBContext()).get_plugin_apps()\n"
        "print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_tensorboard_starts_whatever_keras_runs_on():
    code = (
        "from tensorboard import default; import moe_zoo; "
        "print([p.__module__ for p in default.get_dynamic_plugins()])"
    )
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "moe_zoo.tensorboard.plugin_loader" in result.stdout
