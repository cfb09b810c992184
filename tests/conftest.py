"""What every test gets: a quiet TensorFlow on eight logical CPU devices, and fixed seeds."""

import contextlib
import functools
import gc
import os
import sys
import sysconfig
from pathlib import Path

# Before TensorFlow is imported, and inherited by the processes that tests start.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
LOGICAL_DEVICES = 8

settings.register_profile(
    "moe_zoo", derandomize=True, database=None, deadline=None, max_examples=50
)
settings.load_profile("moe_zoo")


def pytest_addoption(parser):
    parser.addoption(
        "--exhaustive", action="store_true", help="all combinations of the parity test, for an hour"
    )


def pytest_make_collect_report(collector):
    """Splits the CPU into logical devices before the first test file is imported.

    It must happen before TensorFlow starts up. In this hook what TensorFlow prints meanwhile is
    captured, and the process that only hands out tests to pytest-xdist's workers never comes here.
    The devices share one pool of threads: a test that uses only the first is not slowed down.
    """
    if isinstance(collector, pytest.File):
        split_cpu()


@functools.cache
def split_cpu():
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * LOGICAL_DEVICES
    tf.config.set_logical_device_configuration(cpu, devices)


def slow_but(quick, values, mark=pytest.mark.slow):
    """Values of a parameter; those that are not in `quick` run only with the slow tests."""
    values = list(values)
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*row, marks=[] if value in quick else mark)
        for row, value in zip(rows, values, strict=True)
    ]


def nightly_but(kept, values):
    """Values of a parameter; those that are not in `kept` run only at night."""
    return slow_but(kept, values, pytest.mark.nightly)


@pytest.fixture(scope="module", autouse=True)
def fresh_file():
    """What a file's own fixtures make does not depend on the file that ran before.

    What the files before have left alive (modules, graphs: millions of objects in the end) is no
    longer searched for garbage, which would take seconds each time that Keras asks for it.
    """
    start_afresh()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_keras():
    """Every test starts from the same seeds, layer names and dtype policy."""
    import keras

    start_afresh()
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def start_afresh():
    import keras

    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


@pytest.fixture
def data_dir():
    """The folder of evaluation data sets: $MOE_ZOO_DATA, else one beside the project."""
    if folder := os.environ.get("MOE_ZOO_DATA"):
        path = Path(folder)
    else:
        path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no evaluation data in {path}: set MOE_ZOO_DATA to their folder")
    return path


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """Some 20,000 characters of a source of Python's library."""
    source = Path(sysconfig.get_path("stdlib"), "argparse.py").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("data") / "text.txt"
    path.write_text(source[:20_000], encoding="utf-8")
    return path


@pytest.fixture
def trained():
    """A model after two steps on a mesh of 4, and its `ExpertParallel`."""
    import mesh_models
    from moe_zoo.distribution import ExpertParallel

    model, parallel = mesh_models.compiled(mesh_models.functional), ExpertParallel("expert=4")
    parallel.distribute(model)
    mesh_models.train(model, 2)
    return model, parallel


@pytest.fixture(scope="session")
def finished(text, tmp_path_factory):
    """The folder of a finished run, its twin included, and what the command showed."""
    from cli_runs import train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shown = folder.with_suffix(".txt")
    with open(shown, "w", encoding="utf-8") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        assert train(text, folder, "--compare", "--prompt", "def f", "--prompt", "") == 0
    return folder, shown.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def browser():
    """A browser without a window."""
    pytest.importorskip("selenium", reason="needs selenium: pip install 'moe-zoo[test]'")
    from browser import missing_programs, open_browser

    if missing := missing_programs():
        pytest.skip(missing)
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def written_board(tmp_path_factory):
    """TensorBoard on runs that are written for the routing tab."""
    from routing_runs import board_of_runs

    with board_of_runs(tmp_path_factory.mktemp("board") / "logs") as board:
        yield board


@pytest.fixture
def page(browser, written_board):
    """The routing tab, just opened on its first run."""
    from routing_page import Page

    page = Page(browser)
    page.open(written_board)
    return page


@contextlib.contextmanager
def full_disk(room=100):
    """No file can grow over `room` bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def failure(capsys):
    """Runs a command that must fail politely, and returns what it says."""
    from moe_zoo.training.cli import main

    def run(*arguments):
        assert main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("moe-zoo: ") and error.count("\n") == 1, error
        assert "Traceback" not in error
        return error

    return run
