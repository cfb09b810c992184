"""The routing tab's modules that know no page, called in a real browser."""

import json

import pytest

import routing_page  # noqa: F401  (skips these tests without Selenium)
from contrast import contrast

pytestmark = pytest.mark.slow

VIRIDIS_END = 255 << 24 | 37 << 16 | 231 << 8 | 253  # its yellow, (253, 231, 37), opaque
MISSING = 7


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("formatCount(1234567.89)", "1,234,567.9"),
        ("formatPercent(0.1)", "10.0%"),
        ("formatShortPercent(0.1)", "10%"),
        ("formatShortPercent(0.1234)", "12.3%"),
        ("formatDecimal(0)", "0.00"),
        ("formatDecimal(0.05)", "0.050"),
        ("formatDecimal(1.5)", "1.50"),
        ("plural(1, 'token')", "1 token"),
        ("plural(1000, 'token')", "1,000 tokens"),
        ("visibleText(' a\\n\\t\\u0007')", "␣a⏎⇥\ufffd"),
        ("visibleText('\\u200d')", "\u200d"),
        ("describeSpan(-Infinity, Infinity)", "No data."),
    ],
)
def test_formatting(page, call, text):
    assert page.evaluate("format", f"m.{call}") == text


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("roundUp(3)", 4),
        ("roundUp(0.21)", 0.25),
        ("roundUp(1000)", 1000),
        ("roundTicks(-3, 7, 5)", [-2, 0, 2, 4, 6]),
        ("roundTicks(0, 40, 4)", [0, 10, 20, 30, 40]),
        ("highest([[1, null], [3, 2], []])", 3),
        ("highest([[-1]])", 0),
        ("sum([1, null, 3])", 4),
        ("clamp(9, 2, 5)", 5),
    ],
)
def test_numbers(page, call, value):
    assert page.evaluate("numbers", f"m.{call}") == value


def test_the_index_of_a_step_is_that_of_a_slow_search(page):
    steps, places = [3, 4, 9, 11], list(range(2, 14))
    slow = [sum(step <= place for step in steps) - 1 for place in places]
    assert page.evaluate("series", f"{places}.map((step) => m.indexAt({steps}, step))") == slow


def test_a_window_starts_at_the_step_before_it(page):
    # The first window is as long as the median of the others: 3, 5 and 11 steps.
    assert page.evaluate("series", "m.windowStarts([10, 13, 18, 29])") == [5, 10, 13, 18]
    assert page.evaluate("series", "m.windowStarts([10])") == [0]
    assert page.evaluate("series", "m.mergeSteps([[9, 2], [], [10, 2]])") == [2, 9, 10]


def pixels(page, fractions, width, hatch_zero):
    """One row of a heat map with columns of equal width."""
    columns = len(fractions)
    x = f"{{length: {columns}, edges: (c) => [c / {columns}, (c + 1) / {columns}]}}"
    fraction_at = f"(c) => {json.dumps(fractions)}[c]"
    cells = f"{{x: {x}, y: {{length: 1}}, fractionAt: {fraction_at}, hatchZero: {hatch_zero}}}"
    return page.evaluate("cells", f"[...m.cellPixels({cells}, {width}, {MISSING})]")


def test_pixels_of_cells(page):
    assert pixels(page, [0, None, 1], 3, "true") == [0, MISSING, VIRIDIS_END]
    zero = 255 << 24 | 84 << 16 | 1 << 8 | 68
    assert pixels(page, [0], 2, "false") == [zero, zero]
    # Columns of one pixel show their mean, without those that have no value.
    assert pixels(page, [1, None, 1, 1], 2, "true") == 2 * [VIRIDIS_END]
    mixed = pixels(page, [0, 1], 1, "true")
    assert mixed == pixels(page, [0.5], 1, "true") != [VIRIDIS_END]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"texts": [[[1, []]]]}', '{"texts": [[["a", [[0]]]]]}']
)
def test_odd_example_texts_are_refused(page, text):
    assert page.evaluate("token_texts", f"m.readTexts({json.dumps(text)})") is None


def test_tokens_of_each_expert_are_counted_once(page):
    texts = [
        [["a", [[2, 0.5, True], [2, 0.5, True]]], ["b", []]],
        [["c", [[0, 1, True], [2, 0, True]]]],
    ]
    assert page.evaluate("token_texts", f"m.tokensByExpert({json.dumps(texts)})") == [
        [0, 1],
        [2, 2],
    ]


def test_text_is_legible_on_every_color_of_the_ramp(page):
    ramp = "Array.from({length: 256}, (_, i) => m.colorAt(i / 255))"
    for rgb, text in page.evaluate("colors", f"{ramp}.map((c) => [c, m.textOn(c)])"):
        assert contrast(rgb, {"#000": (0, 0, 0), "#fff": (255, 255, 255)}[text]) >= 4.5
