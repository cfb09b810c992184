"""The charts of the routing tab in a real browser: they show what was written."""

import numpy as np
import pytest

from routing_page import By, Keys
from routing_runs import (
    EXPERTS,
    FIRST,
    OTHER,
    RUN,
    SECOND,
    cell,
    demand_of,
    describe_cell,
    dropped_of,
    load_of,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("step", "expert"), [(100, 0), (300, 2), (400, 3), (500, 1)])
def test_the_heat_map_reads_out_what_was_written(page, step, expert):
    shown = page.hover(page.chart("steps", FIRST), *cell(step, expert))
    assert shown == describe_cell(load_of(RUN, FIRST, step), step, expert)


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("demand", "step 300, expert 0: 350 choices, "),
        ("importance", "step 300, expert 0: sum of gates 175, "),
        ("gate_mean", "step 300, expert 0: mean gate 0.500"),
    ],
)
def test_the_heat_map_shows_what_is_selected(page, measure, words):
    page.measure(FIRST, measure)
    assert page.hover(page.chart("steps", FIRST), *cell(300, 0)).startswith(words)
    other = page.hover(page.chart("steps", SECOND), *cell(300, 0))
    assert other == describe_cell(load_of(RUN, SECOND, 300), 300, 0)  # a choice of one layer


def test_the_crosshair_moves_by_keys_and_is_read_aloud(page):
    page.go_to(300)
    chart = page.chart("steps", FIRST)
    canvas = chart.find_element(By.TAG_NAME, "canvas")
    load = load_of(RUN, FIRST, 300)
    canvas.send_keys(Keys.ARROW_RIGHT)  # appears at the slider's step
    assert page.readout(chart) == describe_cell(load, 300, 0)
    canvas.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert page.readout(chart) == describe_cell(load, 300, 2)
    canvas.send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP)
    assert page.readout(chart) == describe_cell(load_of(RUN, FIRST, 200), 200, 1)
    canvas.send_keys(*4 * [Keys.ARROW_UP], Keys.HOME)  # stops at the edge
    assert page.readout(chart) == describe_cell(load_of(RUN, FIRST, 100), 100, 0)
    readout = chart.find_element(By.CSS_SELECTOR, ".readout")
    assert readout.get_attribute("aria-live") == "polite"
    canvas.send_keys(Keys.ENTER)
    page.wait()
    assert page.one("#step-name").text == "100 (1 of 5)"


def test_a_click_on_a_cell_sets_the_step(page):
    assert page.one("#step-name").text == "500 (5 of 5)"
    page.hover(page.chart("steps", FIRST), *cell(200, 1), click=True)
    assert page.one("#step-name").text == "200 (2 of 5)"


def test_two_runs_have_one_color_scale(page):
    page.select("compare", OTHER)
    page.measure(SECOND, "gate_mean")
    # Expert 1 has a mean gate of 0.25 in both, while the highest are 1 and 0.5.
    colors = [
        page.color_at(page.chart("steps", SECOND, run), *cell(200, 1)) for run in (RUN, OTHER)
    ]
    assert colors[0] == colors[1]
    assert colors[0] != page.color_at(page.chart("steps", SECOND, RUN), *cell(200, 3))


def test_nothing_looks_unlike_little(page):
    chart = page.chart("steps", FIRST)
    middle = cell(500, 3)
    around = [(middle[0] + x / 500, middle[1] + y / 500) for x in range(9) for y in range(9)]
    hatched = {page.color_at(chart, *place) for place in around}
    assert len(hatched) == 2  # lines on the page's ground
    filled = {page.color_at(chart, x - 0.4, y) for x, y in around}
    assert len(filled) == 1


def test_the_curves_read_out_the_balance(page):
    page.go_to(200)
    demand, load = demand_of(RUN, FIRST, 200), load_of(RUN, FIRST, 200)
    shares = demand / demand.sum()
    expected = {
        "dropped_fraction": dropped_of(demand),
        "load_cv": f"{load.std() / load.mean():.2f}",
        "entropy": f"{-(shares * np.log(shares)).sum():.2f}",
    }
    for kind, words in expected.items():
        chart = page.chart(kind, FIRST)
        assert page.readout(chart) == f"step 200: {words}"
        assert page.hover(chart, cell(400, 0)[0], 0.5).startswith("step 400: ")


def test_demand_and_load(page):
    page.go_to(400)
    demand, load = demand_of(RUN, FIRST, 400), load_of(RUN, FIRST, 400)
    chart = page.chart("demand", FIRST)
    assert page.readout(chart) == (
        f"step 400: {demand.sum():,} choices requested, {load.sum():,} computed, "
        f"{100 * 50 / demand.sum():.1f}% dropped"
    )
    for expert, end in ((0, f"50 dropped ({100 * 50 / 450:.1f}%)"), (2, f"{load[2]} computed")):
        shown = page.hover(chart, (expert + 0.5) / EXPERTS, 0.5)
        ratio = demand[expert] / demand.mean()
        assert shown.startswith(
            f"expert {expert}: {demand[expert]:,} requested ({ratio:.2f}× uniform)"
        )
        assert shown.endswith(end)

    section = page.one(f'section[data-layer="{FIRST}"]')
    section.find_element(By.CSS_SELECTOR, "summary").click()
    page.wait_for_frames()
    rows = [row.text for row in section.find_elements(By.CSS_SELECTOR, "tbody tr")]
    gates = ["0.500", "0.250", "0.125", "0.000"]  # no choice requests the last one
    shares = [f"{100 * share:.1f}%" for share in load / load.sum()]
    columns = zip(range(EXPERTS), demand, load, shares, gates, strict=True)
    assert rows == [" ".join(f"{value}" for value in row) for row in columns]


def test_experts_that_are_chosen_together(page):
    chart = page.chart("pairs", FIRST)
    assert page.readout(chart) == "Recorded at step 300."
    shown = page.hover(chart, 1.5 / EXPERTS, 0.5 / EXPERTS)  # column 1, row 0
    assert shown == "expert 0: 30 tokens also chose expert 1, 75.0% of its other choices"
    shown = page.hover(chart, 0.5 / EXPERTS, 1.5 / EXPERTS)
    assert shown == "expert 1: 30 tokens also chose expert 0, 60.0% of its other choices"
    page.go_to(200)
    assert page.readout(chart).endswith("The first is from step 300.")
