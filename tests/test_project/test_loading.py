"""Keras files load by `import moe_zoo` alone, those of older versions too."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_imports import source_files

import moe_zoo

REGISTERED = re.compile(r"^@keras\.saving\.register_keras_serializable\(.*\)\nclass (\w+)", re.M)
REGISTRY = """
import json
import keras
from moe_zoo.loading import import_classes
import_classes()
print(json.dumps([x.__name__ for x in keras.saving.get_custom_objects().values()]))
"""
FILES = Path(__file__).parents[1] / "files_of_0_1_0"


@pytest.mark.slow
def test_every_class_that_keras_saves_is_imported():
    """Only a process of its own has not imported it for another test."""
    shown = subprocess.run(
        [sys.executable, "-c", REGISTRY], capture_output=True, text=True, check=True
    ).stdout
    known = set(json.loads(shown.splitlines()[-1]))
    wanted = {
        name
        for _, path in source_files()
        for name in REGISTERED.findall(path.read_text(encoding="utf-8"))
    }
    assert {"SmoothedCrossEntropy", "FactoredAdam", "Perplexity", "Attention", "MoE"} <= wanted
    assert wanted <= known, sorted(wanted - known)


@pytest.mark.parametrize("name", ["moe", "lm", "mmoe"])
def test_files_of_0_1_0_give_the_same_outputs(name):
    """0.1.0 wrote models, inputs and outputs: three routers, a Transformer, a recommender."""
    stored = np.load(FILES / "outputs.npz")
    table = {key[6:]: stored[key] for key in stored if key.startswith("table/")}
    table = {key: x.astype("U") if x.dtype.kind == "S" else x for key, x in table.items()}
    inputs = {"moe": stored["x"], "lm": stored["ids"], "mmoe": table}[name]
    model = moe_zoo.load_model(FILES / f"{name}.keras")
    outputs = model.predict(inputs, verbose=0)
    outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
    for key, value in outputs.items():
        # Another processor adds up in another order.
        np.testing.assert_allclose(value, stored[f"{name}/{key}"], rtol=1e-5, atol=1e-6)
