"""From a model that is trained to the page in a browser: the tab shows what the callback wrote."""

import json

import keras
import numpy as np
import pytest

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, SwitchRouter
from moe_zoo.tensorboard import RoutedExamples, RoutingBounds, RoutingCallback
from routing_board import tensorboard
from routing_events import read
from routing_page import Keys, Page

pytestmark = pytest.mark.slow

EXPERTS, ROWS, LENGTH, VOCABULARY = 4, 48, 7, 11
STEPS = [3, 6, 9, 12]  # two epochs of 6 batches
EVIL = "<script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, 8)(inputs)
    for name, router in (
        ("low", SwitchRouter(capacity_factor=0.5, eval_capacity_factor=0.5)),
        ("high", GShardRouter()),
    ):
        x = keras.layers.add([x, MoE(router, FeedForwardExperts(EXPERTS, 16), name=name)(x)])
    model = keras.Model(inputs, keras.layers.Dense(VOCABULARY)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss)
    ids = np.random.default_rng(2).integers(0, VOCABULARY, (ROWS, LENGTH))
    words = np.array([EVIL, *(f"w{number}" for number in range(1, VOCABULARY))])
    ids[0, 0] = 0
    folder = tmp_path_factory.mktemp("trained") / "logs"
    callback = RoutingCallback(
        folder,
        every=3,
        examples=RoutedExamples(ids[:2], words[ids[:2]]),
        bounds=RoutingBounds(steps=6),  # the capacity of half a choice drops half and more
    )
    model.fit(ids, ids, 8, epochs=2, verbose=0, callbacks=[callback], validation_data=(ids, ids))
    return folder


@pytest.fixture(scope="module")
def page(logs, browser):
    with tensorboard(logs) as board:
        board.wait_for(lambda runs: len(runs) == 2 and runs["train"][0]["last"] == STEPS[-1])
        page = Page(browser)
        page.open(board)
        yield page


@pytest.fixture(scope="module")
def written(logs):
    return {run: read(logs / run)[0] for run in ("train", "validation")}


def slide(page, places):
    """To the first step, and from there some places on."""
    page.slide_to(0)
    page.one("#step").send_keys(*places * [Keys.ARROW_RIGHT])
    page.wait()


def test_every_cell_of_the_heat_map_reads_out_what_was_logged(page, written):
    for layer in ("low", "high"):
        steps, loads = zip(*written["train"][f"{layer}/load"], strict=True)
        assert list(steps) == STEPS
        chart = page.chart("steps", layer, "train")
        for column, load in enumerate(loads):
            for expert in range(EXPERTS):
                place = (column + 0.5) / len(STEPS), (expert + 0.5) / EXPERTS
                expected = f"step {STEPS[column]}, expert {expert}: {int(load[expert]):,} choices"
                assert page.hover(chart, *place).startswith(expected)


def test_the_tokens_are_those_that_were_routed(page, written):
    for places, step in ((1, 6), (3, 12)):
        slide(page, places)
        for layer in ("low", "high"):
            examples = dict(written["train"][f"{layer}/examples"])[step].item()
            expected = [token for text in json.loads(examples)["texts"] for token in text]
            page.chart("steps", layer, "train")  # into view
            shown = page.all(f'section[data-layer="{layer}"] .token')
            assert len(shown) == len(expected) == 2 * LENGTH
            for token, (piece, choices) in zip(shown, expected, strict=True):
                assert token.text.startswith(piece)
                numbers = " ".join(str(expert) for expert, _, _ in choices)
                assert token.get_attribute("data-experts") == numbers
                struck = "line-through" in token.value_of_css_property("text-decoration")
                assert struck == (not any(kept for _, _, kept in choices))
    assert page.script("return window.hacked") is None
    assert not page.errors()


def test_what_is_wrong_is_said_at_the_step_at_which_it_was(page, written):
    health = {step: texts for step, texts in written["train"]["low/health"]}
    assert [step for step in STEPS if len(health[step])] == [6, 9, 12]
    slide(page, 0)
    watched = dict(written["train"]["low/watched"])[STEPS[0]]
    shown = page.one("#health").text
    assert len(watched) and watched[0].decode() in shown and "healthy" not in shown
    slide(page, 1)
    assert health[6][0].decode() in page.one("#health").text


def test_an_evaluation_is_a_run_of_its_own(page, written):
    page.select("run", "validation")
    page.slide_to(1)
    page.chart("steps", "high", "validation")  # into view
    page.one('section[data-layer="high"] details summary').click()
    page.wait_for_frames()  # the browser tells the page a little later that it is open
    load = dict(written["validation"]["high/load"])[12]
    rows = page.script(
        "return [...document.querySelector('section[data-layer=\"high\"] table').rows]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    computed = rows[0].index("computed")
    assert [int(row[computed].replace(",", "")) for row in rows[1:]] == load.astype(int).tolist()
    page.select("run", "train")
