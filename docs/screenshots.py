"""Make the pictures of docs/images: the tab "MoE Routing" and the report of `moe-zoo routing`.

Trains two small Transformers on a package of Python's standard library, the second one without a
balance loss so that there is something to see, and a recommender on census-income; then opens
TensorBoard and the report in Chromium. A run that exists is not trained again. Needs Chromium and
its driver: `apt-get install chromium chromium-driver`.

    python docs/screenshots.py --runs runs/screenshots
"""

import argparse
import subprocess
import sys
import textwrap
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.append(str(DOCS.parent / "tests"))

from selenium.webdriver import Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

from browser import missing_programs, open_browser, wait_until_ready  # noqa: E402
from routing_board import tensorboard  # noqa: E402

PAGE = "data/plugin_entry.html?name=moe_routing"
LIBRARY = Path(textwrap.__file__).parent
# A small text keeps the validation after every epoch short, and an epoch is a column of the charts.
# What is wrong has to last for 500 steps before the tab calls it wrong.
SIZES = """
    --num-layers 4 --moe-every 1 --width 128 --sequence-length 64 --batch-size 16
    --steps 600 --steps-per-epoch 50 --capacity-factor 1.0
"""
MODEL = ["transformer_lm", "--data", str(LIBRARY / "asyncio"), *SIZES.split()]
RUNS = {
    "gshard": [*MODEL, "--router", "gshard"],
    "switch": [*MODEL, "--router", "switch", "--balance-weight", "0"],
    "mmoe": ["recommender", "--data", "census_income", "--epochs", "3"],
}
LINES = 200  # of a file of Python's library, for the report


def main():
    """Train what is missing, and take the pictures."""
    args = parse_arguments()
    if missing := missing_programs():
        sys.exit(f"Expected a browser. Received: {missing}.")
    args.images.mkdir(parents=True, exist_ok=True)
    for name in RUNS:
        train(args, name)
    report, text = args.runs / "report.html", args.runs / "report.txt"
    lines = (LIBRARY / "textwrap.py").read_text(encoding="utf-8").splitlines()[:LINES]
    text.write_text("\n".join(lines), encoding="utf-8")
    command = ["routing", args.runs / "gshard", "--data", text, "--layer", "decoder_moe_3"]
    moe_zoo(*command, "--html", report, "--shown", "0")
    with tensorboard(args.runs) as board, open_browser(1280, 1400) as browser:
        board.wait_for(lambda runs: len(runs) == 2 * len(RUNS))
        take_pictures(Camera(browser, args.images), board.url + PAGE, report)


def parse_arguments():
    """Parse the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--images", type=Path, default=DOCS / "images", help="folder of pictures")
    parser.add_argument(
        "--census", type=Path, help="folder of census-income; else as moe-zoo train"
    )
    return parser.parse_args()


def train(args, name):
    """Train one of `RUNS` unless it exists."""
    path = ["--path", args.census] if name == "mmoe" and args.census else []
    moe_zoo("train", *RUNS[name], *path, "--output", args.runs / name)


def moe_zoo(*command):
    """Run the command line."""
    subprocess.run([sys.executable, "-m", "moe_zoo", *map(str, command)], check=True)


class Camera:
    """Take pictures of pages.

    Args:
        browser: Selenium's.
        folder: of the pictures.
    """

    def __init__(self, browser, folder):
        self.browser, self.folder = browser, folder

    def select(self, name, value):
        """Choose an option in one of the tab's lists."""
        Select(self.browser.find_element(By.ID, name)).select_by_value(value)
        wait_until_ready(self.browser)

    def only(self, name):
        """Show only the layers whose name contains this text."""
        box = self.browser.find_element(By.ID, "filter")
        box.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE, name)

    def take(self, name, selector=None):
        """Save the window, or one element, when it is completely drawn."""
        frames = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        self.browser.execute_async_script(frames)
        wait_until_ready(self.browser)
        path = str(self.folder / f"{name}.png")
        if selector is None:
            self.browser.save_screenshot(path)
        else:
            self.browser.find_element(By.CSS_SELECTOR, selector).screenshot(path)


def take_pictures(camera, page, report):
    """Take all pictures."""
    browser = camera.browser
    browser.get(page)
    wait_until_ready(browser)
    camera.select("run", "switch/logs/mixture/train")
    camera.only("decoder_moe_3")
    camera.take("routing_tab")
    camera.take("routing_examples", 'section[data-layer="decoder_moe_3"] .examples')
    camera.select("compare", "gshard/logs/mixture/train")
    camera.take("routing_compare")
    camera.select("compare", "")
    camera.only("")
    camera.select("run", "mmoe/logs/mmoe-seed-0/train")
    camera.take("routing_gates")
    browser.get(report.resolve().as_uri())
    browser.save_screenshot(str(camera.folder / "routing_report.png"))


if __name__ == "__main__":
    main()
