"""Imports run one way, from the pure functions up to the command line."""

import ast
from pathlib import Path

import pytest

import moe_zoo

# A file or folder of moe_zoo, moe_zoo.models or moe_zoo.training may import what stands on floors
# below its own, and itself. So there is no circle, and nothing imports upward.
FLOORS = [
    {
        "_backend",
        "clones",
        "scopes",
        "terminal",
        "validation",
    },
    {"_lazy", "files", "inputs", "parts", "processes", "quantizing", "recomputing"},
    {"plans"},
    {"losses", "stats"},
    {"routers", "experts"},
    {"gates"},
    {"layers"},
    {"analysis", "distribution", "export"},  # they look at layers from outside
    {"tensorboard"},
    {
        "models.checks",
        "models.one_replica",
        "models.presets",
        "models.servable",
        "models.some_batches",
    },
    {"models.decoding", "models.recommender", "models.tokenizers", "models.transformer"},
    {"models.published"},
    {"models.text"},
    {"models.parameters"},
    {"models"},  # its __init__.py
    {"training.optim", "training.tables"},
    {"loading", "training.datasets", "training.text"},
    {"training.runs"},
    {"training.recipes"},
    {"training"},  # its __init__.py
    {"moe_zoo"},  # its __init__.py
    {"training.cli"},
    {"__main__"},
]
FLOOR = {unit: number for number, floor in enumerate(FLOORS) for unit in floor}
DTENSOR = "tensorflow.experimental.dtensor"


def source_files():
    """Yields (dotted module name, path) of every module of moe_zoo, in a checkout or installed."""
    package = Path(moe_zoo.__file__).parent
    folders = {"moe_zoo": package}
    for name in ("models", "training"):  # beside moe_zoo in a checkout, inside when installed
        folders[f"moe_zoo.{name}"] = next(
            Path(folder) / name for folder in moe_zoo.__path__ if (Path(folder) / name).is_dir()
        )
    for prefix, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((prefix, *parts))
            if not (prefix == "moe_zoo" and parts[0] in ("models", "training")):
                yield name, path


def unit_of(module):
    """The unit of a dotted name: `moe_zoo.models.text.x` belongs to `models.text`."""
    _, *parts = module.removesuffix(".__init__").split(".")
    if not parts:
        return "moe_zoo"
    return ".".join(parts[:2] if parts[0] in ("models", "training") else parts[:1])


def imported_names(tree):
    """Yields every dotted name that is imported, or reached as an attribute, anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (f"{node.module}." if node.module else "")
            yield from (f"{module}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text == "tf.experimental.dtensor":
                yield DTENSOR


def violations(module, source):
    """Returns one sentence for each import of `module` that goes against the direction."""
    unit = unit_of(module)
    if unit not in FLOOR:
        return [f"{module} has no place in the import direction: give {unit!r} a floor"]
    found = []
    for name in imported_names(ast.parse(source)):
        top = name.split(".")[0]
        if name.startswith(".."):
            found.append(f"{module} imports {name}: across folders write the absolute name")
        elif top in ("models", "training"):
            found.append(f"{module} imports {name}: write moe_zoo.{top}")
        elif name.startswith(DTENSOR) and unit != "distribution":
            found.append(f"{module} uses {DTENSOR}: only moe_zoo.distribution may")
        elif top == "moe_zoo":
            target = unit_of(name)
            if target not in FLOOR:  # a name that an __init__.py defines
                target = target.split(".")[0] if "." in target else "moe_zoo"
            if target != unit and FLOOR[target] >= FLOOR[unit]:
                found.append(f"{module} imports {name}: {unit} stands below {target}")
    return found


@pytest.mark.parametrize(
    ("module", "path"), [pytest.param(*item, id=item[0]) for item in source_files()]
)
def test_import_direction(module, path):
    assert not violations(module, path.read_text(encoding="utf-8"))


def test_all_folders_are_looked_at():
    units = {unit_of(module) for module, _ in source_files()}
    assert units == set(FLOOR)


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        (
            "moe_zoo.plans.plan",
            "from moe_zoo.routers import SwitchRouter",
            "plans stands below routers",
        ),
        ("moe_zoo.losses", "import moe_zoo.layers.moe", "losses stands below layers"),
        ("moe_zoo.routers.switch", "from moe_zoo import experts", "routers stands below experts"),
        ("moe_zoo.experts.gated", "def f():\n    from moe_zoo.routers import x", "below routers"),
        ("moe_zoo.layers.moe", "from moe_zoo.distribution import constrain", "below distribution"),
        ("moe_zoo.models.text.lstm", "from moe_zoo.training import x", "stands below training"),
        (
            "moe_zoo.training.runs.fit",
            "from moe_zoo.training.cli import main",
            "below training.cli",
        ),
        ("moe_zoo.training.runs.fit", "import moe_zoo.training.recipes", "below training.recipes"),
        ("moe_zoo.models.published.x", "from moe_zoo.models.text import x", "below models.text"),
        ("moe_zoo.layers.moe", "from moe_zoo import MoE", "layers stands below moe_zoo"),
        ("moe_zoo.training.runs.fit", "from models import presets", "write moe_zoo.models"),
        ("moe_zoo.training.runs.fit", "import training", "write moe_zoo.training"),
        ("moe_zoo.models.text.lstm", "from ..layers import MoE", "write the absolute name"),
        ("moe_zoo.layers.moe", "from tensorflow.experimental import dtensor", "distribution may"),
        ("moe_zoo.layers.moe", "x = tf.experimental.dtensor.Mesh", "only moe_zoo.distribution may"),
        ("moe_zoo.utils", "", "'utils' a floor"),
    ],
)
def test_a_planted_violation_is_found(module, source, words):
    (sentence,) = violations(module, source)
    assert words in sentence


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("moe_zoo.stats", "from moe_zoo.plans.plan import RoutingPlan"),
        ("moe_zoo.routers.switch", "from moe_zoo.routers.router import Router"),
        ("moe_zoo.models.text.lstm", "from . import presets\nfrom .presets import PRESETS"),
        ("moe_zoo.distribution.mesh", "from tensorflow.experimental import dtensor"),
        ("moe_zoo.training.cli", "from moe_zoo import __version__, training"),
    ],
)
def test_imports_downward_are_fine(module, source):
    assert not violations(module, source)


ALONE = {
    "moe_zoo.__init__",
    "moe_zoo._lazy",
    "moe_zoo._backend",
    "moe_zoo.training.runs.serve_script",
}  # import nothing


def reprs(source):
    """Lines of a file where an error writes a value by `!r`, however long or nested it is."""
    return [
        value.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Raise)
        for value in ast.walk(node)
        if isinstance(value, ast.FormattedValue)
        and value.conversion == ord("r")
        and not isinstance(value.value, ast.Subscript)  # a text that is cut: text[:40]
    ]


@pytest.mark.parametrize(
    ("module", "path"), [pytest.param(*item, id=item[0]) for item in source_files()]
)
def test_errors_show_values_by_shown(module, path):
    lines = [] if module in ALONE else reprs(path.read_text(encoding="utf-8"))
    assert not lines, (
        f"lines {lines}: write {{shown(value)}} of moe_zoo.validation, not {{value!r}}"
    )


def test_a_planted_repr_is_found():
    assert reprs('raise ValueError(\n    f"Received: value={value!r}."\n)') == [2]
    assert not reprs('raise ValueError(f"value={shown(value)}, {text[:40]!r}")')
