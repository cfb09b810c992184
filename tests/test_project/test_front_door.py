"""`import moe_zoo`: every public name, imported on first use, for Python and for type checkers."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_imports import source_files

import moe_zoo

ROOT = Path(__file__).parents[2]
SOURCES = dict(source_files())


def lazy_packages():
    """The packages whose `__init__.py` uses `lazy_names`."""
    return [
        module.removesuffix(".__init__")
        for module, path in SOURCES.items()
        if module.endswith(".__init__") and "lazy_names(" in path.read_text(encoding="utf-8")
    ]


def run(program):
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "statements",
    [
        "import moe_zoo; dir(moe_zoo); moe_zoo.__all__",
        "import moe_zoo as m; m.distribution, m.analysis, m.tensorboard, m.models, m.training",
        "from moe_zoo.analysis import mutual_information",
        "from moe_zoo import is_writer",
    ],
)
def test_it_costs_no_tensorflow(statements):
    loaded = run(f"import sys\n{statements}\nprint(*sys.modules)").split()
    assert "moe_zoo" in loaded and not {"tensorflow", "keras"} & set(loaded)


@pytest.mark.slow
def test_packages_are_attributes_and_loaded_one_by_one():
    """DTensor's public names come with TensorFlow; `moe_zoo.distribution` is what uses them."""
    shown = run(
        "import sys, moe_zoo\n"
        "moe_zoo.RoutingCallback\n"
        "print(*sys.modules)\n"
        "print(moe_zoo.layers.MoE is moe_zoo.MoE,"
        " moe_zoo.models.LSTMLanguageModel is moe_zoo.LSTMLanguageModel,"
        " moe_zoo.losses.z_loss is moe_zoo.z_loss, moe_zoo.training.__name__)"
    )
    loaded, packages = shown.splitlines()
    assert "moe_zoo.tensorboard.examples" in loaded.split()
    assert not [name for name in loaded.split() if name.startswith("moe_zoo.distribution")]
    assert packages == "True True True moe_zoo.training"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SwitchRooter", "module 'moe_zoo' has no attribute 'SwitchRooter'. Did you mean 'SwitchR"),
        ("layer", "module 'moe_zoo' has no attribute 'layer'. Did you mean 'layers'?"),
        ("moe", "module 'moe_zoo' has no attribute 'moe'. Did you mean 'MoE'?"),
        ("zzzzzzzz", "module 'moe_zoo' has no attribute 'zzzzzzzz'"),
        ("__wrapped__", "module 'moe_zoo' has no attribute '__wrapped__'"),
    ],
)
def test_a_name_that_does_not_exist(name, message):
    with pytest.raises(AttributeError, match=f"^{re.escape(message)}"):
        getattr(moe_zoo, name)
    assert ("Did you mean" in message) == (not re.match("zz|__", name))


@pytest.mark.parametrize("name", ["Layer", "layer"])
def test_an_import_that_fails_says_why(tmp_path, monkeypatch, name):
    """An AttributeError of the imported module would pass for a name that does not exist."""
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "__init__.py").write_text(
        "from moe_zoo._lazy import lazy_names\n"
        "__getattr__, __dir__ = lazy_names(__name__, {'layer': ['Layer']}, ['layer'])\n"
    )
    (tmp_path / "planted" / "layer.py").write_text("import sys\nsys.no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    message = rf"^planted\.{name} cannot be imported: module 'sys' has no attribute 'no_such_name'$"
    with pytest.raises(ImportError, match=message):
        getattr(importlib.import_module("planted"), name)


# === One set of names ===


@pytest.mark.parametrize("package", lazy_packages())
def test_every_name_is_there(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("package", lazy_packages())
def test_type_checkers_see_the_same_names(package):
    """`__all__`, the table of `lazy_names` and the imports under TYPE_CHECKING agree."""
    module = importlib.import_module(package)
    table = inspect.getclosurevars(module.__getattr__).nonlocals
    assert {*table["sources"], *table["submodules"]} == set(module.__all__)
    assert checked_names(SOURCES[f"{package}.__init__"].read_text(), package) == set(module.__all__)


def checked_names(source, package):
    """The names that a package imports under `if TYPE_CHECKING:`."""
    (block,) = (
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    names = set()
    for node in block:
        for alias in node.names:
            if alias.name == "*":
                names |= set(importlib.import_module(f".{node.module}", package).__all__)
            else:
                names.add(alias.asname or alias.name)
    return names


@pytest.mark.parametrize("package", lazy_packages())
def test_no_name_is_hidden_by_a_module(package):
    """Python makes an imported module an attribute of its package, in place of a lazy name."""
    module = importlib.import_module(package)
    table = inspect.getclosurevars(module.__getattr__).nonlocals
    assert not [name for name in table["sources"] if find_spec(f"{package}.{name}")]


# === Type checkers ===


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """moe_zoo as it is installed: type checkers do not follow the folders of a checkout."""
    if not (ROOT / "setup.py").is_file():
        return Path(moe_zoo.__file__).parents[1]  # the wheel
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", folder]
    subprocess.run([*command, "build_py", "--build-lib", folder], cwd=ROOT, check=True)
    return folder


CHECKERS = {
    "mypy": ["mypy", "--ignore-missing-imports", "--follow-imports", "silent"],
    "basedpyright": ["basedpyright", "--level", "error"],
}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_resolve_every_name(checker, installed, tmp_path):
    pytest.importorskip(checker)
    names = "\n".join(f"moe_zoo.{name}" for name in moe_zoo.__all__)
    (tmp_path / "right.py").write_text(f"import moe_zoo\n{names}\nfrom moe_zoo import MoE\n")
    (tmp_path / "wrong.py").write_text("import moe_zoo\nmoe_zoo.MoEE\nfrom moe_zoo import Layers\n")
    settings = {"pythonVersion": "3.11", "extraPaths": [str(installed)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    found = {}
    for file in ("right.py", "wrong.py"):
        result = subprocess.run(
            [sys.executable, "-m", *CHECKERS[checker], file],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"MYPYPATH": str(installed)},
        )
        found[file] = re.findall(r"error: .*", result.stdout)
        assert result.returncode == bool(found[file]), result.stdout + result.stderr
    assert not found["right.py"]
    assert ["MoEE" in found["wrong.py"][0], "Layers" in found["wrong.py"][1]] == [True, True]
