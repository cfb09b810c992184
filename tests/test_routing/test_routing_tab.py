"""The routing tab in a real browser: its runs, its layers and how it fails."""

import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT
from routing_board import RunWriter, tensorboard
from routing_page import By, Keys, Page
from routing_runs import (
    EXPERTS,
    FIRST,
    ODD,
    OTHER,
    RUN,
    SECOND,
    STEPS,
    cell,
    describe_cell,
    load_of,
)

pytestmark = pytest.mark.slow


def test_tensorboard_offers_the_tab(written_board, browser):
    page = Page(browser)
    browser.get(written_board.url)
    tab = "[role=tab]"
    for _ in range(100):
        found = [tab for tab in page.all(tab) if "moe routing" in tab.text.lower()]
        if found:
            break
        browser.execute_async_script("setTimeout(arguments[0], 100)")
    (tab,) = found
    tab.click()
    browser.switch_to.frame(page.one("iframe"))
    page.wait()
    assert page.one("h1").text == "MoE routing"
    assert [section.get_attribute("data-layer") for section in page.all("section[data-layer]")] == [
        FIRST,
        SECOND,
        "mmoe_income",
        "mmoe_married",
    ]
    assert not page.errors()


def test_another_run_is_shown(page):
    page.select("run", OTHER)
    assert page.one("#step-name").text == "300 (3 of 3)"
    shown = page.hover(page.chart("steps", SECOND, OTHER), (1 + 0.5) / 3, (2 + 0.5) / EXPERTS)
    assert shown == describe_cell(load_of(OTHER, SECOND, 200), 200, 2)
    assert not page.all(".token")


def test_two_runs_stand_side_by_side(page):
    page.select("compare", OTHER)
    page.go_to(200)
    for run in (RUN, OTHER):
        chart = page.chart("steps", SECOND, run)
        assert chart.find_element(By.TAG_NAME, "h3").text == f"{run} · Load over steps"
        shown = page.hover(chart, *cell(200, 3))
        assert shown == describe_cell(load_of(run, SECOND, 200), 200, 3)
    left, right = (page.chart("demand", SECOND, run) for run in (RUN, OTHER))
    assert left.rect["y"] == right.rect["y"] and left.rect["x"] < right.rect["x"]
    assert page.one(f'section[data-layer="{FIRST}"]').text.count(f"{OTHER} has no pair data") == 1


def test_layers_can_be_filtered_and_jumped_to(page):
    def shown():
        sections = page.all("section[data-layer]")
        return [x.get_attribute("data-layer") for x in sections if x.is_displayed()]

    assert len(shown()) == 4
    page.one("#filter").send_keys("BLOCK_1")
    assert shown() == [SECOND]
    page.one("#filter").send_keys("none")
    assert shown() == [] and "No layer name matches the filter." in page.one("main").text
    page.one("#filter").clear()
    page.select("jump", "mmoe_income")
    assert page.script("return document.activeElement.textContent") == "mmoe_income"


def test_a_failure_is_told_and_overcome(page):
    page.go_to(200)
    page.script("window.before = fetch; window.fetch = () => Promise.reject(new TypeError('x'))")
    page.one("#reload").click()
    page.wait()
    assert page.one("#problem").text.startswith("TensorBoard is not responding.")
    page.script("window.fetch = window.before")
    page.one("#reload").click()
    page.wait()
    assert not page.one("#problem").is_displayed()
    assert page.one("#step-name").text == "200 (2 of 5)"


@pytest.mark.parametrize("other", ["", OTHER, ODD])
def test_a_look_at_everything_leaves_no_odd_word_and_no_error(page, other):
    page.select("compare", other)
    for section in page.all("section"):
        page.script("arguments[0].scrollIntoView()", section)
        page.wait_for_frames()
    for end in (0, 1):
        page.slide_to(end)
        words = page.one("main").text
        for odd in ("undefined", "NaN", "Infinity", "[object", "null"):
            assert odd not in words
    assert f"step {STEPS[-1]}: " in words
    assert not page.errors()


def test_what_can_be_operated_has_a_name_and_a_place_in_the_order(page):
    page.section(FIRST).find_element(By.TAG_NAME, "summary").click()
    page.wait_for_frames()
    operated = page.all("select, input, button, summary, canvas, .scroller, .token")
    shown = [element for element in operated if element.is_displayed()]
    assert {element.get_attribute("class") for element in shown} >= {"scroller", "token"}
    assert not [x.get_attribute("outerHTML") for x in shown if not x.accessible_name]
    levels = [int(heading.tag_name[1]) for heading in page.all("h1, h2, h3, h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_an_empty_folder_tells_what_to_do(browser, tmp_path):
    with tensorboard(tmp_path / "logs") as board:
        page = Page(browser)
        page.open(board)
        words = page.one("#empty").text
        assert 'callbacks=[moe_zoo.RoutingCallback("logs")]' in words
        assert "tensorboard --logdir logs" in words and "click Reload" in words

        # Then training begins, and goes on.
        writer = RunWriter(tmp_path / "logs" / "live" / "train")
        for last in (1, 2, 3):
            writer.write_load(FIRST, last, [3, 4], [3, 4])
            writer.flush()
            board.wait_for(lambda runs, last=last: runs and runs["live/train"][0]["last"] == last)
            if last == 3:
                page.one("#step").send_keys(Keys.HOME)
                page.wait()
            page.one("#reload").click()
            page.wait()
            # The slider stays at the end, unless the user has moved it.
            shown = {1: "1 (1 of 1)", 2: "2 (2 of 2)", 3: "1 (1 of 3)"}[last]
            assert page.one("#step-name").text == shown
        writer.close()


def test_large_models_do_not_overflow(browser, tmp_path):
    layers, experts = 24, 128
    writer = RunWriter(tmp_path / "logs" / "train")
    load = np.arange(1, experts + 1)
    for index in range(layers):
        for step in (1, 2):
            writer.write_load(f"decoder_block_{index}_moe", step, load, load, index=index)
    writer.close()
    with tensorboard(tmp_path / "logs") as board:
        board.wait_for(lambda runs: runs and [x["last"] for x in runs["train"]] == [2] * layers)
        page = Page(browser)
        for width in (1400, 700):
            browser.set_window_size(width, 1000)
            page.open(board)
            assert len(page.all("section[data-layer]")) == layers
            assert 0 < len(page.all("figure[data-chart=steps]")) < layers / 4  # the others later
            page.select("jump", "decoder_block_17_moe")
            widths = "return [document.documentElement.scrollWidth, innerWidth]"
            needed, there = page.script(widths)
            assert needed <= there
            chart = page.chart("steps", "decoder_block_17_moe", "train")
            shown = page.hover(chart, 0.75, 99.5 / experts)
            share = 100 / load.sum()
            assert shown.startswith(f"step 2, expert 99: 100 choices, {100 * share:.1f}% (")
        browser.set_window_size(1400, 1000)


def test_the_benchmark_prints_its_table(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "routing_tab.py"), "--short"]
    result = subprocess.run(
        [*command, "--folder", str(tmp_path / "logs")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "3 layers, 8 experts, 20 steps, seed 1" in result.stdout
    assert "its figures mean nothing" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    rows = [line for line in lines if line[:1] in (["true"], ["false"])]
    assert [row[0] for row in rows] == ["true", "false"] and {len(row) for row in rows} == {10}
    assert all(float(value) > 0 for row in rows for value in row[1:])
