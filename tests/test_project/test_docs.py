"""The examples that users read: snippets of README and docs, and `>>>` lines of docstrings."""

import doctest
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_imports import source_files

from moe_zoo.training.cli import make_parser

README = Path(__file__).parents[2] / "README.md"
DOCS = README.parent / "docs"
PAGES = [  # a cluster needs several processes
    page
    for page in sorted(DOCS.glob("*.md"))
    if page.stem != "cluster" and "```python" in page.read_text(encoding="utf-8")
]
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")  # to another file
COMMANDS = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def python_snippets(text):
    """Returns (line number of the fence, code) of each Python block of a Markdown text."""
    return [(text.count("\n", 0, m.start()) + 1, m[1]) for m in SNIPPET.finditer(text)]


def run_snippet(line, code):
    """Runs one block as a script of its own, whose errors point into the README."""
    exec(compile("\n" * line + code, str(README), "exec"), {"__name__": "__main__"})


def readme_snippets():
    if not README.is_file():
        return [pytest.param(None, None, marks=pytest.mark.skip(reason=f"no {README}"))]
    text = README.read_text(encoding="utf-8")
    return [pytest.param(*snippet, id=f"line{snippet[0]}") for snippet in python_snippets(text)]


@pytest.mark.parametrize(("line", "code"), readme_snippets())
def test_readme_snippet_runs(line, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_snippet(line, code)


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES])
def test_page_runs_and_prints_what_it_shows(page, tmp_path):
    """A page is one script, in a process of its own; its ```text blocks are the output."""
    text = page.read_text(encoding="utf-8")
    script = "\n".join(code for _, code in python_snippets(text))
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    shown = "".join(OUTPUT.findall(text))
    same = doctest.OutputChecker().check_output(shown, result.stdout, FLAGS)
    assert same, f"{page.name} shows\n{shown}\nand its snippets print\n{result.stdout}"


@pytest.mark.skipif(not DOCS.is_dir(), reason=f"no {DOCS}")
def test_examples_have_at_most_fifteen_lines():
    snippets = python_snippets((DOCS / "examples.md").read_text(encoding="utf-8"))
    sizes = {line: sum(map(bool, code.split("\n"))) for line, code in snippets}
    assert max(sizes.values()) <= 15, f"lines of code by line number: {sizes}"


@pytest.mark.parametrize("name", ["README", "CONTRIBUTING", "CHANGELOG", "saved_models/README"])
def test_links_lead_to_files(name):
    """The pages in docs/ have their links checked when the site is built."""
    page = README.parent / f"{name}.md"
    if not page.is_file():
        pytest.skip(f"no {page}")
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def shown_commands():
    """The `moe-zoo` commands of README and docs, without comments."""
    for page in (README, *sorted(DOCS.glob("*.md"))):
        if page.is_file():
            for block in COMMANDS.findall(page.read_text(encoding="utf-8")):
                for line in block.replace("\\\n", " ").splitlines():
                    words = shlex.split(line, comments=True)
                    if words[:1] == ["moe-zoo"]:
                        yield pytest.param(words[1:], id=f"{page.stem}: {' '.join(words[1:4])}")


@pytest.mark.parametrize("words", list(shown_commands()))
def test_shown_commands_have_options_that_exist(words):
    assert callable(make_parser().parse_args(words).run)


@pytest.mark.skipif(not DOCS.is_dir(), reason=f"no {DOCS}")
def test_the_pictures_are_made_with_options_that_exist(monkeypatch):
    pytest.importorskip("selenium", reason="needs selenium: pip install 'moe-zoo[test]'")
    monkeypatch.syspath_prepend(DOCS)
    for options in importlib.import_module("screenshots").RUNS.values():
        assert callable(make_parser().parse_args(["train", *options]).run)


# Packages with `__all__` that users do not import from, or that another page covers.
WITHOUT_REFERENCE = {  # internal, or with names that another page has
    *("moe_zoo", "moe_zoo.files", "moe_zoo.models.published", "moe_zoo.training.optim"),
}


@pytest.mark.skipif(not DOCS.is_dir(), reason=f"no {DOCS}")
def test_every_public_package_has_a_reference_page():
    pages = [page.read_text(encoding="utf-8") for page in DOCS.glob("api/*.md")]
    documented = set(re.findall("^::: (.+)$", "\n".join(pages), re.MULTILINE))
    public = {
        name.removesuffix(".__init__")
        for name, path in source_files()
        if path.name == "__init__.py" and "__all__" in path.read_text(encoding="utf-8")
    }
    assert public - WITHOUT_REFERENCE <= documented, public - documented


def modules_with_examples():
    return [name for name, path in source_files() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", modules_with_examples())
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name.removesuffix(".__init__"))
    result = doctest.testmod(module, optionflags=FLAGS)
    assert result.attempted > 0, f"{name} has `>>>` lines that doctest does not find"
    assert result.failed == 0


def test_snippets_are_found_with_their_line():
    text = "# Title\n\n```python\na = 1\n```\n\n```bash\nls\n```\n\n```python\nb = 2\n```\n"
    assert python_snippets(text) == [(3, "a = 1\n"), (11, "b = 2\n")]


def test_a_broken_snippet_fails():
    with pytest.raises(NameError, match="not_there"):
        run_snippet(7, "print(not_there)\n")
