"""What is built and installed: everything of moe_zoo, and nothing beside it."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
FOLDERS = {"moe_zoo": "moe_zoo", "models": "moe_zoo/models", "training": "moe_zoo/training"}

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="needs the git checkout: this is an installed copy"
)


def run(*command, cwd, **environment):
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")  # of the `make test` that runs this
    inherited = {name: value for name, value in os.environ.items() if name not in outer}
    result = subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True
    )
    return result.returncode, result.stdout + result.stderr


def python_files():
    """Where each Python file of the three folders must stand in the wheel."""
    return {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, target in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the sdist, from a copy of all files that git would take."""
    source = tmp_path_factory.mktemp("source")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # not one that is deleted but still in the index
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    code, output = run(sys.executable, "-m", "build", "--no-isolation", ".", cwd=source)
    assert code == 0, output
    (path,) = (source / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel, file="METADATA"):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f".dist-info/{file}"))
        return archive.read(name).decode()


def test_wheel_holds_every_python_file(contents):
    assert {"moe_zoo/models/__init__.py", "moe_zoo/training/__init__.py"} <= contents
    assert {name for name in contents if name.endswith(".py")} == python_files()


def test_wheel_holds_the_package_data_and_the_licence(contents):
    assert "moe_zoo/py.typed" in contents
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)
    page = {path.name for path in (ROOT / "moe_zoo" / "tensorboard" / "static").iterdir()}
    assert {"index.js", "page.css"} <= page
    assert {f"moe_zoo/tensorboard/static/{name}" for name in page} <= contents


def test_nothing_but_moe_zoo_at_the_top_level(contents):
    top = {name.split("/")[0] for name in contents}
    assert {name for name in top if not name.endswith(".dist-info")} == {"moe_zoo"}


def test_version_has_one_source(wheel):
    import moe_zoo

    assert f"\nVersion: {moe_zoo.__version__}\n" in metadata(wheel)


def test_metadata(wheel):
    text = metadata(wheel)
    (python,) = re.findall(r"^Requires-Python: (.*)$", text, re.MULTILINE)
    assert SpecifierSet(python) == SpecifierSet(">=3.11,<3.14")
    requirements = re.findall(r"^Requires-Dist: (.*)$", text, re.MULTILINE)
    assert {Requirement(line) for line in requirements if "extra ==" not in line} == {
        Requirement("tensorflow>=2.19,<2.22"),
        Requirement("keras>=3.10,<3.16"),
        Requirement('tensorflow-text>=2.19,<2.22; platform_system != "Windows"'),
        Requirement("tensorboard>=2.19,<3"),
        Requirement("numpy>=1.26,<3"),
        Requirement("pyyaml>=6,<7"),
    }


def test_tests_have_what_they_drive_a_browser_with(wheel):
    lines = re.findall(r"^Requires-Dist: (.*)$", metadata(wheel), re.MULTILINE)
    assert Requirement('selenium>=4.25,<5; extra == "test"') in map(Requirement, lines)


def test_entry_points(wheel):
    found = configparser.ConfigParser()
    found.read_string(metadata(wheel, "entry_points.txt"))
    assert {group: dict(found[group]) for group in found.sections()} == {
        "console_scripts": {"moe-zoo": "moe_zoo.__main__:main"},
        "tensorboard_plugins": {
            "moe_routing": "moe_zoo.tensorboard.plugin_loader:RoutingLoader",
        },
    }


def test_wheel_imports_from_another_folder(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    program = (
        "import importlib.util, moe_zoo, moe_zoo.models, moe_zoo.training\n"
        "print(moe_zoo.__file__, moe_zoo.models.__file__, moe_zoo.training.__file__)\n"
        "for name in ('models', 'training', 'tests'):\n"
        "    spec = importlib.util.find_spec(name)\n"  # another package may bring its own `tests`
        "    print(name, 'lies in', spec and spec.submodule_search_locations)\n"
    )
    code, output = run(
        sys.executable, "-c", program, cwd=tmp_path / "empty", PYTHONPATH=str(tmp_path / "site")
    )
    assert code == 0, output
    package = tmp_path / "site" / "moe_zoo"
    files = [package / "__init__.py"]
    files += [package / name / "__init__.py" for name in ("models", "training")]
    assert " ".join(map(str, files)) in output
    for name in ("models", "training", "tests"):
        (place,) = re.findall(rf"^{name} lies in (.*)$", output, re.MULTILINE)
        assert str(tmp_path) not in place


@pytest.mark.parametrize("name", ["models", "training"])
def test_folder_refuses_to_be_a_package_of_its_own(name):
    code, output = run(sys.executable, "-c", f"import {name}", cwd=ROOT)
    assert code == 1
    assert f"ImportError: Expected this folder to be imported as `moe_zoo.{name}`." in output
    code, output = run(sys.executable, "-c", f"import moe_zoo.{name}", cwd=ROOT)
    assert code == 0, output


def test_the_wheel_is_tested_by_tests_that_exist():
    names = re.findall(r"test_\w+/test_\w+\.py", (ROOT / ".ci" / "test-wheel").read_text())
    assert names and [name for name in names if not (ROOT / "tests" / name).exists()] == []


@pytest.mark.parametrize(
    "target",
    ["train", "test", "test-wheel", "test-oldest", "test-original", "lint", "bench", "help"],
)
def test_make_target_exists(target):
    code, output = run("make", "--dry-run", target, cwd=ROOT)
    assert code == 0, output


def test_make_alone_lists_the_targets():
    code, output = run("make", cwd=ROOT)
    assert code == 0, output
    for target in ("train", "test", "lint", "bench"):
        assert f"make {target} " in output


def test_make_gives_another_python_its_own_environment():
    code, output = run("make", "--dry-run", "lint", "PYTHON=/some/where/python3.13", cwd=ROOT)
    assert code == 0, output
    assert f"{ROOT}/.venv-python3.13/bin/ruff" in output


def test_make_names_the_pythons_that_work():
    code, output = run("make", "test", "PYTHON=no-such-python", cwd=ROOT)
    assert code == 2
    assert "Expected PYTHON to be Python 3.11, 3.12 or 3.13. Received: no-such-python is" in output
    assert "make test PYTHON=python3.12" in output
