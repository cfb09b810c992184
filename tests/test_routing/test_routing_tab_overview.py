"""What the routing tab says of all layers at once, in a real browser."""

import math

import numpy as np
import pytest

from routing_page import By
from routing_runs import EXPERTS, FIRST, GATES, RUN, SECOND, cell, demand_of, dropped_of

pytestmark = pytest.mark.slow


def test_health_in_words(page):
    finding = "Expert 3 has computed nothing for 1,000 steps."
    words = f"1 of 4 layers needs attention at step 500. {FIRST}: {finding}"
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
    words = f"Watching 1 of 4 layers at step 200. {SECOND}: 64% dropped, 200 of 500 steps"
    assert page.one("#health .verdict").text == f"… {words}"
    chip = page.one(f'.chips [data-layer="{SECOND}"]')
    assert chip.text == f"… {SECOND}" and "64% dropped" in chip.get_attribute("aria-label")
    page.one(f'.chips [data-layer="{SECOND}"]').click()
    page.wait()
    assert page.script("return document.activeElement.textContent") == SECOND


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
    assert shown == f"step 200, {SECOND}: normalized entropy {float(f'{100 * share:.1f}'):g}%"
    page.hover(overview, *cell(200, 1, rows=2), click=True)
    assert page.script("return document.activeElement.textContent") == SECOND
    assert 0 < page.script("return document.activeElement.getBoundingClientRect().top") < 400


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
    assert shown == "step 200, expert 3: sum of gates 32, 50.0% (2.00× uniform)"
