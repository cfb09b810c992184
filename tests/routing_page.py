"""The routing tab as a user sees and operates it."""

import json

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("selenium", reason="needs selenium: pip install 'moe-zoo[test]'")

from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

from browser import wait_until_ready  # noqa: E402
from routing_runs import RUN, STEPS  # noqa: E402

PATH = "data/plugin_entry.html?name=moe_routing"
STATIC = "${location.origin}/data/plugin/moe_routing/static/"
COLOR = """
const [left, top, width, height] = JSON.parse(arguments[0].dataset.area);
const place = [left + arguments[1] * width, top + arguments[2] * height];
const pixel = place.map((x) => Math.round(x * devicePixelRatio));
const canvas = arguments[0].querySelector("canvas");
return [...canvas.getContext("2d").getImageData(...pixel, 1, 1).data];
"""


class Page:
    """What a user does and sees."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, board, path=PATH):
        self.browser.get("about:blank")
        self.errors()  # those of another page are read, and gone
        self.browser.get(board.url + path)
        self.wait()

    def wait(self):
        wait_until_ready(self.browser)

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
        """Moves the slider with the keyboard, as a user without a mouse does."""
        slider = self.one("#step")
        slider.send_keys(Keys.HOME)
        for _ in range(STEPS.index(step)):
            slider.send_keys(Keys.ARROW_RIGHT)
        self.wait()

    def slide_to(self, end):
        """Moves the slider to its first or its last step."""
        self.one("#step").send_keys(Keys.END if end else Keys.HOME)
        self.wait()

    def section(self, layer):
        """The section of a layer, scrolled into view and drawn."""
        section = self.one(f'section[data-layer="{layer}"]')
        self.script("arguments[0].scrollIntoView()", section)
        self.wait_for_frames()
        return section

    def chart(self, kind, layer=None, run=RUN):
        parent = self.section(layer) if layer else self.browser
        return parent.find_element(
            By.CSS_SELECTOR, f'figure[data-chart="{kind}"][data-run="{run}"]'
        )

    def hover(self, chart, x, y, click=False):
        """Points at a place in the plot, both from 0 to 1, and returns the readout."""
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
        select = self.section(layer).find_element(By.CSS_SELECTOR, "[data-role=measure]")
        Select(select).select_by_value(measure)
        self.wait()

    def color_at(self, chart, x, y):
        """Of the canvas, at a place in the plot."""
        return tuple(self.script(COLOR, chart, x, y))

    def evaluate(self, module, expression):
        """The value of an expression of JavaScript in which `m` is a module of the tab."""
        script = f"import(`{STATIC}{module}.js`).then((m) => {expression}).then(arguments[0])"
        return self.browser.execute_async_script(script)

    def readout(self, chart):
        return chart.find_element(By.CSS_SELECTOR, ".readout").text

    def errors(self):
        """Severe messages of the console, but for the icon that TensorBoard does not have."""
        messages = self.browser.get_log("browser")
        return [m for m in messages if m["level"] == "SEVERE" and "favicon" not in m["message"]]

    def colors(self, element):
        """How many different colors a screenshot of an element has."""
        pixels = tf.io.decode_png(element.screenshot_as_png, channels=3).numpy().reshape(-1, 3)
        return len(np.unique(pixels, axis=0))
