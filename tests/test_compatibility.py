"""Names that Keras and TensorFlow keep to themselves and `moe_zoo.distribution` relies on.

When a new release moves one, the test of that name fails and says who needs it.
"""

import ast
import inspect
import re
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor
from tensorflow.python.eager import context

from moe_zoo.distribution import layouts
from moe_zoo.distribution.collectives import record_collectives

FOLDER = Path(layouts.__file__).parent
VERSIONS = f"Keras {keras.__version__} and TensorFlow {tf.__version__}"


@pytest.fixture(scope="module")
def model():
    """A model that has trained for a step, so that all it keeps is there."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(tf.ones([4, 3]), tf.ones([4, 2]), verbose=0)
    return model


OWNERS = {
    "Variable": lambda model: model.layers[0].kernel,
    "Model": lambda model: model,
    "Optimizer": lambda model: model.optimizer,
    "LossScaleOptimizer": lambda model: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
    "DVariable": lambda model: dtensor.DVariable,
    "context": lambda model: context,
}
NAMES = [
    ("Variable", "_value", "expert_parallel.py puts a variable of the mesh there"),
    ("Model", "_flatten_layers", "checks.py and layouts.py walk over the layers"),
    ("Model", "_make_function", "training_functions.py puts its own there for fit and evaluate"),
    ("Model", "make_predict_function", "training_functions.py puts its own there for predict"),
    ("Model", "_symbolic_build", "training_functions.py builds metrics before the first step"),
    ("Model", "train_function", "training_functions.py has it made anew"),
    ("Model", "test_function", "training_functions.py has it made anew"),
    ("Model", "predict_function", "training_functions.py has it made anew"),
    ("Model", "metrics_variables", "layouts.py places them"),
    ("Model", "jit_compile", "xla.py turns it off"),
    ("Model", "compile_from_config", "xla.py watches it"),
    ("Model", "steps_per_execution", "training_functions.py runs as many"),
    ("Optimizer", "_trainable_variables", "layouts.py finds each variable's slots by its place"),
    ("Optimizer", "_trainable_variables_indices", "expert_parallel.py numbers variables anew"),
    ("Optimizer", "_var_key", "expert_parallel.py numbers variables anew"),
    ("Optimizer", "apply", "training_functions.py makes gradients of embeddings dense"),
    ("LossScaleOptimizer", "inner_optimizer", "layouts.py finds the slots inside"),
    ("DVariable", "_serialize_to_tensors", "sharded_variable.py saves the whole value"),
    ("DVariable", "_restore_from_tensors", "sharded_variable.py restores the whole value"),
    ("context", "enable_run_metadata", "collectives.py records graphs"),
    ("context", "export_run_metadata", "collectives.py records graphs"),
    ("context", "disable_run_metadata", "collectives.py records graphs"),
]
IN_GRAPHS = {"_output_shapes"}  # an attribute of nodes; test_shapes_of_nodes looks at it


@pytest.mark.parametrize(
    ("owner", "name", "why"), [pytest.param(*row, id=f"{row[0]}.{row[1]}") for row in NAMES]
)
def test_the_name_is_there(owner, name, why, model):
    assert hasattr(OWNERS[owner](model), name), f"{VERSIONS} have no {owner}.{name}: {why}"


def test_every_private_name_is_in_the_list():
    """So that this file does not fall behind the code."""
    listed = {name for _, name, _ in NAMES} | IN_GRAPHS
    for path in sorted(FOLDER.glob("*.py")):
        private = private_names(path.read_text(encoding="utf-8"))
        assert private <= listed, f"{path.name}: add {sorted(private - listed)} to NAMES"


def private_names(source):
    """Private attributes of anything but `self`, and strings that look like their names."""
    own = {"_make", "_replace", "_fields", "_asdict"}  # of NamedTuples
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self":
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {name for name in found if re.fullmatch(r"_[a-z]\w*", name)} - own


def test_a_private_name_that_is_not_listed_is_found():
    assert private_names("self._a\nx._b\ngetattr(x, '_c')\nx.__d__\nx.e") == {"_b", "_c"}


# === What they do ===


def test_keras_makes_train_and_test_functions_with_make_function(model):
    for name in ("make_train_function", "make_test_function"):
        source = inspect.getsource(getattr(keras.Model, name))
        assert "self._make_function(" in source, f"{VERSIONS}: {name} no longer calls it"


def test_symbolic_build_takes_a_batch():
    assert "data_batch" in inspect.signature(keras.Model._symbolic_build).parameters, VERSIONS


def test_a_keras_variable_is_its_value(model):
    kernel = model.layers[0].kernel
    assert kernel.value is kernel._value, f"{VERSIONS}: Variable._value is not what is read"


def test_optimizers_number_variables_by_key(model):
    optimizer = model.optimizer
    numbered = {
        optimizer._var_key(variable): index
        for index, variable in enumerate(optimizer._trainable_variables)
    }
    assert optimizer._trainable_variables_indices == numbered, VERSIONS


@pytest.mark.parametrize(
    ("optimizer", "slots"), [("sgd", 0), ("lion", 1), ("adam", 2), ("adafactor", 3)]
)
def test_optimizers_keep_slots_in_lists_beside_the_variables(optimizer, slots):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
    model.compile(optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    found = layouts.optimizer_slots(model)
    assert len(found) == slots, f"{VERSIONS}: slots of {optimizer}"
    assert all(variable is model.layers[0].kernel for _, variable in found)


def test_variables_are_saved_under_one_name():
    assert set(tf.Variable(1.0)._serialize_to_tensors()) == {"VARIABLE_VALUE"}, VERSIONS


def test_shapes_of_nodes():
    """Graphs that ran tell their devices and the shapes of what they sent."""
    mesh = dtensor.create_mesh([("expert", 2)], devices=["CPU:0", "CPU:1"])
    spread = dtensor.Layout(["expert", dtensor.UNSHARDED], mesh)

    def total(width):
        graph = tf.function(
            lambda: tf.reduce_sum(dtensor.relayout(tf.ones([4, width]), spread), 0), autograph=False
        )
        with dtensor.default_mesh(mesh):
            graph()

    context.enable_run_metadata()
    total(5)  # for somebody else who records
    with record_collectives() as found:
        total(3)
    sent = [(x.op, x.shape, x.dtype) for x in found]
    assert sent == [("CollectiveReduceV2", (3,), tf.float32)], VERSIONS
