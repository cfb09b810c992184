"""Chromium of the system, without a window."""

import contextlib
import shutil
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

NAMES = {
    "browser": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "driver": ("chromedriver", "chromium.chromedriver"),
}


def find_programs():
    """Paths of the browser and its driver; `None` for one that is missing."""
    return {
        part: next(filter(None, map(shutil.which, names)), None) for part, names in NAMES.items()
    }


def missing_programs():
    """What to install, in words, or an empty text."""
    missing = [part for part, path in find_programs().items() if path is None]
    if not missing:
        return ""
    return (
        f"no {' and no '.join(missing)}: install Chromium and its driver (Debian and Ubuntu: "
        + ("apt-get install chromium chromium-driver)")
    )


@contextlib.contextmanager
def open_browser(width=1400, height=1000):
    """A browser that keeps all messages of its console, closed whatever happens."""
    programs = find_programs()
    options = webdriver.ChromeOptions()
    options.binary_location = programs["browser"]
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(switch)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With both paths given, Selenium looks for nothing to download.
    browser = webdriver.Chrome(options, Service(programs["driver"]))
    try:
        yield browser
    finally:
        browser.quit()


def wait_until_ready(browser, seconds=60):
    """Waits until the page says that all it began is complete."""
    deadline = time.monotonic() + seconds
    while not browser.execute_script("return document.body?.dataset.ready ?? null"):
        assert time.monotonic() < deadline, "the page is not ready"
        time.sleep(0.02)
