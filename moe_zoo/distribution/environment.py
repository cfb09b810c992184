"""What distribution needs of its environment; nothing here imports TensorFlow."""

import importlib.metadata
import os
import re
from typing import Any

from moe_zoo.validation import shown

COMBINE_PASS = "DTENSOR_ENABLE_COMBINE_ALL_REDUCES_OPTIMIZATION"

# Names that Keras and TensorFlow keep to themselves, by the class that has them, and their users.
PRIVATE_NAMES = {
    "Model": {
        "_flatten_layers": "checks.py and layouts.py walk over the layers",
        "_make_function": "training_functions.py replaces it for fit and evaluate",
        "make_predict_function": "training_functions.py replaces it for predict",
        "_symbolic_build": "training_functions.py builds metrics before the first step",
        "train_function": "training_functions.py has it made again",
        "test_function": "training_functions.py has it made again",
        "predict_function": "training_functions.py has it made again",
        "metrics_variables": "layouts.py places them",
        "jit_compile": "xla.py turns it off",
        "compile_from_config": "xla.py watches it",
        "steps_per_execution": "training_functions.py runs as many steps",
    },
    "Variable": {
        "_value": "expert_parallel.py puts a variable of the mesh there",
    },
    "Optimizer": {
        "_trainable_variables": "optimizer.py finds the slots of each variable by its index",
        "_trainable_variables_indices": "optimizer.py numbers variables again",
        "_var_key": "optimizer.py numbers variables again",
        "apply": "optimizer.py makes gradients of embeddings dense",
    },
    "DVariable": {
        "_serialize_to_tensors": "sharded_variable.py saves the whole value",
        "_restore_from_tensors": "sharded_variable.py restores the whole value",
    },
}


def guard_against_wrong_numbers() -> None:
    """Switch off the pass of DTensor that combines all-reduces.

    It moves the assignment of a variable past a later read of it: an Adam step then moves weights
    far too much, or not at all, without an error.

    Raises:
        RuntimeError: If the environment asks for the pass.
    """
    if os.environ.setdefault(COMBINE_PASS, "0") != "0":
        raise RuntimeError(
            f"Expected {COMBINE_PASS}=0: with that pass DTensor assigns variables in the wrong "
            f"order, and training computes wrong numbers. Received: {COMBINE_PASS}="
            f"{shown(os.environ[COMBINE_PASS])}. Remove it from the environment."
        )


def check_private_names(owner: str, value: Any) -> None:
    """Refuse a release of Keras or TensorFlow that has moved a name which distribution uses.

    Args:
        owner: A key of `PRIVATE_NAMES`.
        value: An object of that class, or the class.

    Raises:
        RuntimeError: If the object does not have all of the names.
    """
    missing = [name for name in PRIVATE_NAMES[owner] if not hasattr(value, name)]
    if missing:
        versions = importlib.metadata.version
        requirements = importlib.metadata.requires("moe-zoo") or []
        tested = [line for line in requirements if re.match("(keras|tensorflow)[<>=~]", line)]
        raise RuntimeError(
            f"Expected Keras and TensorFlow to have the private names that a mesh relies on. "
            f"Received: Keras {versions('keras')} and TensorFlow {versions('tensorflow')} without "
            f"{', '.join(f'{owner}.{name}' for name in missing)}. Install releases that have them: "
            f"pip install {' '.join(map(repr, tested))}."
        )
