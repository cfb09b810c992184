"""The page of the routing tab in a real browser: what it shows is what was written."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

browser_of = pytest.importorskip("browser", reason="needs selenium: pip install 'moe-zoo[test]'")

from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

from conftest import ROOT  # noqa: E402
from routing_board import RunWriter, tensorboard  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(browser_of.missing_programs()), reason=browser_of.missing_programs() or "has all"
    ),
]

PAGE = "data/plugin_entry.html?name=moe_routing"
EXPERTS = 4
STEPS = [100, 200, 300, 400, 500]
RUN, OTHER = "switch/train", "top2/train"
MEAN_GATES = {RUN: [0.5, 0.25, 0.125, 1.0], OTHER: [0.125, 0.25, 0.125, 0.5]}
FIRST, SECOND = "block_0_moe", "block_1_moe"
WATCHED = SECOND, 200
EVIL = "<script>window.hacked=1</script>"
EVIL_LAYER = "<img src=x onerror=window.hacked=1>"
PAIRS = np.array([[0, 30, 10, 0], [30, 0, 5, 15], [10, 5, 0, 0], [0, 15, 0, 0]])
GATES = {"income": [0.5, 0.25, 0.25, 0.0], "married": [0.125, 0.125, 0.25, 0.5]}
COLOUR = """
const [left, top, width, height] = JSON.parse(arguments[0].dataset.area);
const place = [left + arguments[1] * width, top + arguments[2] * height];
const pixel = place.map((x) => Math.round(x * devicePixelRatio));
const canvas = arguments[0].querySelector("canvas");
return [...canvas.getContext("2d").getImageData(...pixel, 1, 1).data];
"""
# Step -> tokens, each a piece and its choices: expert, gate, kept.
TOKENS = {
    200: [["The", [[0, 0.9, True]]], [" cat", [[1, 0.8, True]]]],
    400: [
        ["A", [[2, 0.75, True], [1, 0.25, False]]],
        [EVIL, [[1, 0.625, True]]],
        [" \n", [[3, 0.5, False], [0, 0.125, False]]],
        ["none", []],
    ],
}


def load_of(run, layer, step):
    """`[E]`; expert 3 of the first layer computes nothing from step 400 on."""
    load = np.array([step + 37 * expert * (1 if run == RUN else 5) for expert in range(EXPERTS)])
    if layer == FIRST and run == RUN and step >= 400:
        load[3] = 0
    return load + (1000 if layer == SECOND else 0)


def demand_of(run, layer, step):
    """50 choices of expert 0 found no slot."""
    return load_of(run, layer, step) + [50, 0, 0, 0]


def write_run(folder, run, steps):
    writer = RunWriter(folder / run)
    for index, layer in enumerate((FIRST, SECOND)):
        for step in steps:
            demand, load = demand_of(run, layer, step), load_of(run, layer, step)
            watched = ["64% dropped, 200 of 500 steps"] if (layer, step) == WATCHED else []
            writer.write_load(layer, step, demand, load, MEAN_GATES[run], watched, index=index)
    if run == RUN:
        for step, tokens in TOKENS.items():
            writer.write(FIRST, "examples", step, json.dumps({"texts": [tokens]}), index=0)
        writer.write(FIRST, "pairs", 300, PAIRS, index=0)
        for task, gates in GATES.items():
            content = {"index": 2, "group": "mmoe", "task": task}
            for step in steps:
                importance = 64 * np.array(gates)
                writer.write(f"mmoe_{task}", "importance", step, importance, **content)
                writer.write(f"mmoe_{task}", "load", step, np.full(EXPERTS, 64), **content)
    writer.close()


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    logs = tmp_path_factory.mktemp("board") / "logs"
    write_run(logs, RUN, STEPS)
    write_run(logs, OTHER, STEPS[:3])
    odd = RunWriter(logs / "odd")
    odd.write(EVIL_LAYER, "load", 1, [3, 1])
    odd.write("unreadable", "examples", 1, "{", index=1)
    odd.write("unreadable", "health", 1, [EVIL], index=1)
    odd.close()
    with tensorboard(logs) as board:
        board.wait_for(lambda runs: len(runs) == 3 and runs[RUN][0]["last"] == STEPS[-1])
        yield board


@pytest.fixture(scope="module")
def browser():
    with browser_of.open_browser() as browser:
        yield browser


@pytest.fixture
def page(board, browser):
    """The page, just opened on its first run."""
    opened = Page(browser)
    opened.open(board)
    return opened


class Page:
    """What a user does and sees."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, board, path=PAGE):
        self.browser.get(board.url + path)
        self.wait()

    def wait(self):
        browser_of.wait_until_ready(self.browser)

    def wait_for_frames(self):
        """Waits until what has just come into view, or was just opened, is drawn."""
        frames = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        self.browser.execute_async_script(frames)
        self.wait()

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def select(self, name, value):
        Select(self.one(f"#{name}")).select_by_value(value)
        self.wait()

    def go_to(self, step):
        """Moves the slider by keys, as a user without a mouse does."""
        slider = self.one("#step")
        slider.send_keys(Keys.HOME)
        for _ in range(STEPS.index(step)):
            slider.send_keys(Keys.ARROW_RIGHT)
        self.wait()

    def slide_to(self, end):
        """Moves the slider to its first or its last step."""
        self.one("#step").send_keys(Keys.END if end else Keys.HOME)
        self.wait()

    def chart(self, kind, layer=None, run=RUN):
        section = f'section[data-layer="{layer}"] ' if layer else ""
        if layer:  # it is drawn when it comes into view
            self.script("arguments[0].scrollIntoView()", self.one(section))
            self.wait_for_frames()
        return self.one(f'{section}figure[data-chart="{kind}"][data-run="{run}"]')

    def hover(self, chart, x, y, click=False):
        """Points at a place in the plot, both from 0 to 1, and returns what is read out."""
        canvas = chart.find_element(By.TAG_NAME, "canvas")
        self.script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        self.wait_for_frames()
        left, top, width, height = json.loads(chart.get_attribute("data-area"))
        size = canvas.size
        offset = (left + x * width - size["width"] / 2, top + y * height - size["height"] / 2)
        action = ActionChains(self.browser).move_to_element_with_offset(canvas, *map(round, offset))
        (action.click() if click else action).perform()
        self.wait()
        return self.readout(chart)

    def measure(self, layer, measure):
        section = self.one(f'section[data-layer="{layer}"]')
        self.script("arguments[0].scrollIntoView()", section)
        self.wait_for_frames()
        select = section.find_element(By.CSS_SELECTOR, "[data-role=measure]")
        Select(select).select_by_value(measure)
        self.wait()

    def colour_at(self, chart, x, y):
        """Of the canvas, at a place in the plot."""
        return tuple(self.script(COLOUR, chart, x, y))

    def readout(self, chart):
        return chart.find_element(By.CSS_SELECTOR, ".readout").text

    def errors(self):
        """Severe messages of the console, but for the icon that TensorBoard does not have."""
        messages = self.browser.get_log("browser")
        return [m for m in messages if m["level"] == "SEVERE" and "favicon" not in m["message"]]

    def colours(self, element):
        """How many different colours a screenshot of an element has."""
        pixels = tf.io.decode_png(element.screenshot_as_png, channels=3).numpy().reshape(-1, 3)
        return len(np.unique(pixels, axis=0))


def words_of(load, step, expert):
    share = load[expert] / load.sum()
    return (
        f"step {step}, expert {expert}: {load[expert]:,} choices, {100 * share:.1f} % "
        f"({EXPERTS * share:.2f} × uniform)"
    )


def cell(step, row, rows=EXPERTS):
    """The middle of a cell: the windows of the five steps are equally long."""
    return (STEPS.index(step) + 0.5) / len(STEPS), (row + 0.5) / rows


def test_tensorboard_offers_the_tab(board, browser):
    page = Page(browser)
    browser.get(board.url)
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


@pytest.mark.parametrize(("step", "expert"), [(100, 0), (300, 2), (400, 3), (500, 1)])
def test_the_heat_map_reads_out_what_was_written(page, step, expert):
    shown = page.hover(page.chart("steps", FIRST), *cell(step, expert))
    assert shown == words_of(load_of(RUN, FIRST, step), step, expert)


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("demand", "step 300, expert 0: 350 choices, "),
        ("importance", "step 300, expert 0: 175 gates in sum, "),
        ("gate_mean", "step 300, expert 0: mean gate 0.500"),
    ],
)
def test_the_heat_map_shows_what_is_selected(page, measure, words):
    page.measure(FIRST, measure)
    assert page.hover(page.chart("steps", FIRST), *cell(300, 0)).startswith(words)
    other = page.hover(page.chart("steps", SECOND), *cell(300, 0))
    assert other == words_of(load_of(RUN, SECOND, 300), 300, 0)  # a choice of one layer


def test_the_crosshair_moves_by_keys_and_is_read_aloud(page):
    page.go_to(300)
    chart = page.chart("steps", FIRST)
    canvas = chart.find_element(By.TAG_NAME, "canvas")
    load = load_of(RUN, FIRST, 300)
    canvas.send_keys(Keys.ARROW_RIGHT)  # appears at the slider's step
    assert page.readout(chart) == words_of(load, 300, 0)
    canvas.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert page.readout(chart) == words_of(load, 300, 2)
    canvas.send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP)
    assert page.readout(chart) == words_of(load_of(RUN, FIRST, 200), 200, 1)
    canvas.send_keys(*4 * [Keys.ARROW_UP], Keys.HOME)  # stops at the edge
    assert page.readout(chart) == words_of(load_of(RUN, FIRST, 100), 100, 0)
    readout = chart.find_element(By.CSS_SELECTOR, ".readout")
    assert readout.get_attribute("aria-live") == "polite"
    canvas.send_keys(Keys.ENTER)
    page.wait()
    assert page.one("#step-name").text == "100 (1 of 5)"


def test_a_click_on_a_cell_sets_the_step(page):
    assert page.one("#step-name").text == "500 (5 of 5)"
    page.hover(page.chart("steps", FIRST), *cell(200, 1), click=True)
    assert page.one("#step-name").text == "200 (2 of 5)"


def tokens(page):
    return [token.text.replace("\n", "") for token in page.all(".token")]


def test_the_slider_chooses_the_examples(page):
    late = ["A2 1", f"{EVIL}1", "␣⏎3 0", "none"]
    assert tokens(page) == late
    page.go_to(300)
    assert tokens(page) == ["The0", "␣cat1"]
    assert page.one(".examples .remark").text.startswith("from step 200.")
    page.go_to(100)
    assert tokens(page) == []
    assert page.one(".examples .remark").text.endswith("the first are from step 200.")
    page.go_to(400)
    assert tokens(page) == late


def test_a_token_tells_its_experts_and_gates(page):
    first, evil, dropped, unasked = page.all(".token")
    for token, words in (
        (first, "A\nexpert 2, gate 0.750\nexpert 1, gate 0.250, dropped"),
        (dropped, "␣⏎\nexpert 3, gate 0.500, dropped\nexpert 0, gate 0.125, dropped"),
        (unasked, "none\nno expert was asked"),
    ):
        ActionChains(page.browser).move_to_element(token).perform()
        assert page.one(".tip").text == words
    assert "line-through" in dropped.value_of_css_property("text-decoration")
    assert "line-through" not in first.value_of_css_property("text-decoration")
    lost = [number.text for number in first.find_elements(By.CSS_SELECTOR, ".lost")]
    assert lost == ["1"]
    # One stop for the Tab key; arrows go on.
    assert [token.get_attribute("tabindex") for token in page.all(".token")] == ["0", *3 * ["-1"]]
    first.send_keys(Keys.ARROW_RIGHT)
    assert page.script("return document.activeElement") == evil
    assert page.one(".tip").text == f"{EVIL}\nexpert 1, gate 0.625"


def test_an_expert_can_be_looked_at_alone(page):
    def clear():
        shown = page.all(".token")
        return [float(token.value_of_css_property("opacity")) == 1 for token in shown]

    assert clear() == [True] * 4
    buttons = {button.text: button for button in page.all(".experts button")}
    assert list(buttons) == ["0", "1", "2", "3"]
    buttons["1"].click()
    assert buttons["1"].get_attribute("aria-pressed") == "true"
    assert clear() == [True, True, False, False]
    page.all(".token")[2].find_element(By.CSS_SELECTOR, "sub span:last-child").click()  # a number
    assert buttons["1"].get_attribute("aria-pressed") == "false"
    assert clear() == [False, False, True, False]
    buttons["0"].click()  # the same expert again
    assert clear() == [True] * 4


def test_markup_stays_text(page):
    assert page.all(".token")[1].text.startswith(EVIL)
    page.select("run", "odd")
    assert page.one("section[data-layer] h2").text == EVIL_LAYER
    assert EVIL in page.one("#health .verdict").text
    assert "cannot be read" in page.one(".examples .remark").text
    assert page.script("return window.hacked") is None
    assert page.script("return document.querySelectorAll('main script, main img').length") == 0
    assert not page.errors()


def test_another_run_is_shown(page):
    page.select("run", OTHER)
    assert page.one("#step-name").text == "300 (3 of 3)"
    shown = page.hover(page.chart("steps", SECOND, OTHER), (1 + 0.5) / 3, (2 + 0.5) / EXPERTS)
    assert shown == words_of(load_of(OTHER, SECOND, 200), 200, 2)
    assert not page.all(".token")


def test_two_runs_stand_side_by_side(page):
    page.select("compare", OTHER)
    page.go_to(200)
    for run in (RUN, OTHER):
        chart = page.chart("steps", SECOND, run)
        assert chart.find_element(By.TAG_NAME, "h3").text == f"{run} · Computed choices over steps"
        shown = page.hover(chart, *cell(200, 3))
        assert shown == words_of(load_of(run, SECOND, 200), 200, 3)
    left, right = (page.chart("demand", SECOND, run) for run in (RUN, OTHER))
    assert left.rect["y"] == right.rect["y"] and left.rect["x"] < right.rect["x"]
    assert page.one(f'section[data-layer="{FIRST}"]').text.count(f"{OTHER} holds no pairs") == 1


def test_two_runs_have_one_colour_scale(page):
    page.select("compare", OTHER)
    page.measure(SECOND, "gate_mean")
    # Expert 1 has a mean gate of 0.25 in both, while the highest are 1 and 0.5.
    colours = [
        page.colour_at(page.chart("steps", SECOND, run), *cell(200, 1)) for run in (RUN, OTHER)
    ]
    assert colours[0] == colours[1]
    assert colours[0] != page.colour_at(page.chart("steps", SECOND, RUN), *cell(200, 3))


def test_nothing_looks_unlike_little(page):
    chart = page.chart("steps", FIRST)
    middle = cell(500, 3)
    around = [(middle[0] + x / 500, middle[1] + y / 500) for x in range(9) for y in range(9)]
    hatched = {page.colour_at(chart, *place) for place in around}
    assert len(hatched) == 2  # lines on the page's ground
    filled = {page.colour_at(chart, x - 0.4, y) for x, y in around}
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


def test_asked_and_computed_choices(page):
    page.go_to(400)
    demand, load = demand_of(RUN, FIRST, 400), load_of(RUN, FIRST, 400)
    chart = page.chart("demand", FIRST)
    assert page.readout(chart) == (
        f"step 400: {demand.sum():,} choices asked, {load.sum():,} computed, "
        f"{100 * 50 / demand.sum():.1f} % dropped"
    )
    for expert, end in ((0, f"50 dropped ({100 * 50 / 450:.1f} %)"), (2, f"{load[2]} computed")):
        shown = page.hover(chart, (expert + 0.5) / EXPERTS, 0.5)
        ratio = demand[expert] / demand.mean()
        assert shown.startswith(
            f"expert {expert}: {demand[expert]:,} asked ({ratio:.2f} × uniform)"
        )
        assert shown.endswith(end)

    section = page.one(f'section[data-layer="{FIRST}"]')
    section.find_element(By.CSS_SELECTOR, "summary").click()
    page.wait_for_frames()
    rows = [row.text for row in section.find_elements(By.CSS_SELECTOR, "tbody tr")]
    gates = ["0.500", "0.250", "0.125", "0.000"]  # none asked for the last one
    shares = [f"{100 * share:.1f} %" for share in load / load.sum()]
    columns = zip(range(EXPERTS), demand, load, shares, gates, strict=True)
    assert rows == [" ".join(f"{value}" for value in row) for row in columns]


def test_experts_that_are_chosen_together(page):
    chart = page.chart("pairs", FIRST)
    assert page.readout(chart) == "from step 300"
    shown = page.hover(chart, 1.5 / EXPERTS, 0.5 / EXPERTS)  # column 1, row 0
    assert shown == "expert 0: 30 tokens also chose expert 1, 75.0 % of the choices beside it"
    shown = page.hover(chart, 0.5 / EXPERTS, 1.5 / EXPERTS)
    assert shown == "expert 1: 30 tokens also chose expert 0, 60.0 % of the choices beside it"
    page.go_to(200)
    assert page.readout(chart).endswith("the first are from step 300.")


def test_gates_of_several_tasks(page):
    table = page.one('section[data-group="mmoe"]')
    rows = [row.text for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert rows == [
        f"{task} " + " ".join(f"{g:.3f}" for g in gates) for task, gates in GATES.items()
    ]
    shown = page.hover(page.chart("steps", "mmoe_married"), *cell(200, 3))
    assert "gate of task married in mmoe" in page.one('section[data-layer="mmoe_married"]').text
    assert not page.all('section[data-layer="mmoe_married"] [data-chart="demand"]')
    page.chart("demand", FIRST)
    assert shown == "step 200, expert 3: 32 gates in sum, 50.0 % (2.00 × uniform)"


def test_the_overview_shows_all_layers_and_leads_to_them(page):
    overview = page.chart("overview")
    demand = demand_of(RUN, SECOND, 200)
    shown = page.hover(overview, *cell(200, 1, rows=2))
    assert shown == f"step 200, {SECOND}: dropped fraction {dropped_of(demand)}"
    page.select("overview-measure", "entropy")
    shares = demand / demand.sum()
    share = -(shares * np.log(shares)).sum() / math.log(EXPERTS)
    overview = page.chart("overview")
    shown = page.hover(overview, *cell(200, 1, rows=2))
    assert shown == f"step 200, {SECOND}: entropy / log E {float(f'{100 * share:.1f}'):g} %"
    page.hover(overview, *cell(200, 1, rows=2), click=True)
    assert page.script("return document.activeElement.textContent") == SECOND
    assert 0 < page.script("return document.activeElement.getBoundingClientRect().top") < 400


def dropped_of(demand):
    return f"{float(f'{100 * 50 / demand.sum():.1f}'):g} %"


def test_health_in_words(page):
    finding = "Expert 3 has computed nothing for 1,000 steps."
    words = f"1 of 4 layers needs attention at step 500: {FIRST}: {finding}"
    assert page.one("#health .verdict").text == f"! {words}"
    chips = {chip.get_attribute("data-layer"): chip for chip in page.all(".chips button")}
    assert [chip.text for chip in chips.values()] == [
        f"! {FIRST}",
        f"✓ {SECOND}",
        "– mmoe_income",
        "– mmoe_married",
    ]
    page.go_to(300)
    assert page.one("#health .verdict").text == "✓ All 2 layers are healthy at step 300"
    page.go_to(200)  # over a bound, but not for long: neither a finding nor healthy
    words = f"watching 1 of 4 layers at step 200: {SECOND}: 64% dropped, 200 of 500 steps"
    assert page.one("#health .verdict").text == f"… {words}"
    chip = page.one(f'.chips [data-layer="{SECOND}"]')
    assert chip.text == f"… {SECOND}" and "64% dropped" in chip.get_attribute("aria-label")
    page.one(f'.chips [data-layer="{SECOND}"]').click()
    page.wait()
    assert page.script("return document.activeElement.textContent") == SECOND


def test_layers_can_be_filtered_and_jumped_to(page):
    def shown():
        sections = page.all("section[data-layer]")
        return [x.get_attribute("data-layer") for x in sections if x.is_displayed()]

    assert len(shown()) == 4
    page.one("#filter").send_keys("BLOCK_1")
    assert shown() == [SECOND]
    page.one("#filter").send_keys("none")
    assert shown() == [] and "No layer has that in its name." in page.one("main").text
    page.one("#filter").clear()
    page.select("jump", "mmoe_income")
    assert page.script("return document.activeElement.textContent") == "mmoe_income"


def test_the_canvas_is_painted_in_light_and_dark(page):
    grounds = {}
    for theme in ("light", "dark"):
        page.select("theme", theme)
        chart = page.chart("steps", FIRST)
        page.hover(chart, 0.5, 0.5)
        assert page.colours(chart) > 30
        ground = page.one("body").value_of_css_property("background-color")
        grounds[theme] = [int(part) for part in re.findall(r"\d+", ground)[:3]]
    assert min(grounds["light"]) > 200 and max(grounds["dark"]) < 60
    page.select("theme", "auto")


def test_the_theme_follows_the_system(page):
    for scheme in ("dark", "light"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        page.wait_for_frames()
        assert page.script("return document.documentElement.dataset.theme") == scheme


def test_a_failure_is_told_and_overcome(page):
    page.go_to(200)
    page.script("window.before = fetch; window.fetch = () => Promise.reject(new TypeError('x'))")
    page.one("#reload").click()
    page.wait()
    assert page.one("#problem").text.startswith("TensorBoard does not answer.")
    page.script("window.fetch = window.before")
    page.one("#reload").click()
    page.wait()
    assert not page.one("#problem").is_displayed()
    assert page.one("#step-name").text == "200 (2 of 5)"


@pytest.mark.parametrize("other", ["", OTHER, "odd"])
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


def test_an_empty_folder_tells_what_to_do(browser, tmp_path):
    with tensorboard(tmp_path / "logs") as board:
        page = Page(browser)
        page.open(board)
        words = page.one("#empty").text
        assert 'callbacks=[RoutingCallback("logs")]' in words
        assert "tensorboard --logdir logs" in words and "press Reload" in words

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
            assert shown.startswith(f"step 2, expert 99: 100 choices, {100 * share:.1f} % (")
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
