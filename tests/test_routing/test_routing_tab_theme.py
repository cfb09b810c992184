"""The themes of the routing tab in a real browser."""

import re

import pytest

from routing_runs import FIRST

pytestmark = pytest.mark.slow


def test_the_canvas_is_painted_in_light_and_dark(page):
    grounds = {}
    for theme in ("light", "dark"):
        page.select("theme", theme)
        chart = page.chart("steps", FIRST)
        page.hover(chart, 0.5, 0.5)
        assert page.colors(chart) > 30
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
