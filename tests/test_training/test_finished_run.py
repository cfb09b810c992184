"""A finished run is read by a process that has not trained it: by `export` and `evaluate`."""

import json
import re
import subprocess
import sys

from test_imports import source_files

REGISTERED = re.compile(r"^@keras\.saving\.register_keras_serializable\(.*\)\nclass (\w+)", re.M)
REGISTRY = """
import json
import keras
import moe_zoo.training.runs.finished_run
print(json.dumps([x.__name__ for x in keras.saving.get_custom_objects().values()]))
"""


def test_keras_finds_all_that_a_model_is_compiled_with():
    """Only a process of its own has not imported it for another test."""
    shown = subprocess.run(
        [sys.executable, "-c", REGISTRY], capture_output=True, text=True, check=True
    ).stdout
    known = set(json.loads(shown.splitlines()[-1]))
    wanted = {
        name
        for module, path in source_files()
        if module.startswith(("moe_zoo.training.", "moe_zoo.models.", "moe_zoo.layers."))
        for name in REGISTERED.findall(path.read_text(encoding="utf-8"))
    }
    assert {"SmoothedCrossEntropy", "FactoredAdam", "Perplexity", "Attention", "MoE"} <= wanted
    assert wanted <= known, sorted(wanted - known)
