"""The files of the routing tab: native modules that import each other, served one by one."""

import re
from pathlib import Path

import pytest
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client

import moe_zoo.tensorboard
from contrast import contrast

pytestmark = pytest.mark.filterwarnings("ignore:html5lib's sanitizer:DeprecationWarning")

STATIC = Path(moe_zoo.tensorboard.__file__).with_name("static")
ROOT = "/data/plugin/moe_routing/static/"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(STATIC.iterdir())}
MODULES = [name for name in SOURCES if name.endswith(".js")]
PURE = {  # they know neither the page nor the server
    "assignments.js",
    "axes.js",
    "cells.js",
    "colors.js",
    "format.js",
    "health_words.js",
    "measures.js",
    "numbers.js",
    "scales.js",
    "series.js",
    "token_texts.js",
}
BROWSER = r"\b(document|window|fetch|localStorage|getComputedStyle|requestAnimationFrame|make)\b"


@pytest.fixture
def client():
    return serve()


def serve():
    """A client of the application that serves the files."""
    from moe_zoo.tensorboard.plugin import RoutingPlugin  # TensorBoard warns when it is imported

    return Client(RoutingPlugin(TBContext()).get_plugin_apps()["/static/*"])


def imports(module):
    """Paths of what a module imports, as they stand in it."""
    return re.findall(r'^(?:import|export)\b[^;]*? from "([^"]+)";', SOURCES[module], re.MULTILINE)


def reached(module, path=()):
    """A module and what it imports, directly or not; it must not import itself."""
    assert module not in path, f"a circle: {[*path, module]}"
    names = {module}
    for imported in imports(module):
        assert re.fullmatch(r"\./[a-z_]+\.js", imported), f"{module} imports {imported}"
        names |= reached(imported.removeprefix("./"), (*path, module))
    return names


def test_the_page_reaches_every_module():
    assert len(imports("index.js")) > 1
    assert sorted(reached("index.js")) == MODULES


def test_the_page_names_every_style_sheet():
    (line,) = re.findall(r"^const STYLES = \[(.*)\];$", SOURCES["index.js"], re.MULTILINE)
    assert sorted(re.findall(r'"([^"]+)"', line)) == sorted(set(SOURCES) - set(MODULES))


@pytest.mark.parametrize("module", sorted(PURE))
def test_formatting_scales_and_data_know_no_page(module):
    assert not re.search(BROWSER, re.sub(r"//.*|/\*[\s\S]*?\*/", "", SOURCES[module]))
    assert {path.removeprefix("./") for path in imports(module)} <= PURE


def test_files_are_short():
    assert not [name for name, source in SOURCES.items() if source.count("\n") > 400]


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_is_served_once(client, name):
    answer = client.get(ROOT + name)
    kind = "text/javascript" if name in MODULES else "text/css"
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.text == SOURCES[name]
    # The browser keeps it, but asks each time, so that an update of the package shows.
    assert answer.headers["Cache-Control"] == "no-cache, must-revalidate"
    again = client.get(ROOT + name, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304 and again.data == b""


def test_a_changed_file_is_served_anew(client, tmp_path, monkeypatch):
    (tmp_path / "index.js").write_text("export {};")
    monkeypatch.setattr("moe_zoo.tensorboard.plugin.STATIC", tmp_path)
    etag = client.get(f"{ROOT}index.js").headers["ETag"]
    answer = serve().get(f"{ROOT}index.js", headers={"If-None-Match": etag})
    assert answer.status_code == 200 and answer.text == "export {};"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../plugin.py", "plugin.py", "gone.js", "x/static/index.js", "INDEX.JS"]
)
def test_nothing_else_is_served(client, name):
    answer = client.get(ROOT + name)
    assert answer.status_code == 404
    assert answer.json["error"].startswith("Expected a file of the page. Received: ")


def test_a_folder_is_no_file_of_the_page(tmp_path, monkeypatch):
    for folder in ("folder.js", "folder"):
        (tmp_path / folder).mkdir()
    (tmp_path / "folder" / "inner.js").write_text("export {};")
    monkeypatch.setattr("moe_zoo.tensorboard.plugin.STATIC", tmp_path)
    client = serve()
    for name in ("folder.js", "folder", "folder/", "folder/inner.js"):
        assert client.get(ROOT + name).status_code == 404


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_the_colors_of_a_theme_have_contrast(theme):
    rules = SOURCES["colors.css"].split(":root")[1:]
    variables = re.findall(r"--([\w-]+): #([0-9a-f]{6});", rules[theme])
    colors = {name: bytes.fromhex(color) for name, color in variables}
    for text in ("ink", "soft", "accent", "good", "alarm"):
        grounds = ["page", "panel"] + (["alarm-ground"] if text in ("ink", "alarm") else [])
        for ground in grounds:
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    for shape in ("control", "computed", "cursor"):  # borders and marks need less than text
        assert contrast(colors[shape], colors["page"]) >= 3, shape
