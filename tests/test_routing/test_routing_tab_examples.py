"""The example texts of the routing tab in a real browser."""

import pytest

from routing_page import ActionChains, By, Keys
from routing_runs import EVIL, EVIL_LAYER, ODD

pytestmark = pytest.mark.slow


def tokens(page):
    return [token.text.replace("\n", "") for token in page.all(".token")]


def test_the_slider_chooses_the_examples(page):
    late = ["A2 1", f"{EVIL}1", "␣⏎3 0", "none"]
    assert tokens(page) == late
    page.go_to(300)
    assert tokens(page) == ["The0", "␣cat1"]
    assert page.one(".examples .remark").text.startswith("Recorded at step 200.")
    page.go_to(100)
    assert tokens(page) == []
    assert page.one(".examples .remark").text.endswith("The first is from step 200.")
    page.go_to(400)
    assert tokens(page) == late


def test_a_token_tells_its_experts_and_gates(page):
    first, evil, dropped, unrouted = page.all(".token")
    for token, words in (
        (first, "A\nexpert 2, gate 0.750\nexpert 1, gate 0.250, dropped"),
        (dropped, "␣⏎\nexpert 3, gate 0.500, dropped\nexpert 0, gate 0.125, dropped"),
        (unrouted, "none\nno expert chosen"),
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
    page.select("run", ODD)
    assert page.one("section[data-layer] h2").text == EVIL_LAYER
    assert EVIL in page.one("#health .verdict").text
    assert "cannot be read" in page.one(".examples .remark").text
    assert page.script("return window.hacked") is None
    assert page.script("return document.querySelectorAll('main script, main img').length") == 0
    assert not page.errors()
