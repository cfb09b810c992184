"""Names that Keras and TensorFlow keep to themselves and that moe-zoo relies on.

When a new release moves one, the test of that name fails and says who needs it.
"""

import ast
import functools
import importlib
import inspect
import re
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor
from tensorflow.python.eager import context

import moe_zoo
import moe_zoo.models
import moe_zoo.training
from moe_zoo import recomputing
from moe_zoo.distribution.collectives import record_collectives
from moe_zoo.distribution.environment import PRIVATE_NAMES
from moe_zoo.distribution.optimizer import optimizer_slots

FOLDERS = [Path(package.__path__[0]) for package in (moe_zoo, moe_zoo.models, moe_zoo.training)]
VERSIONS = f"Keras {keras.__version__} and TensorFlow {tf.__version__}"


@pytest.fixture(scope="module")
def model():
    """A model that has trained for a step, so that all it keeps is there."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(tf.ones([4, 3]), tf.ones([4, 2]), verbose=0)
    return model


OWNERS = {
    "Variable": lambda model: model.layers[-1].kernel,
    "Layer": lambda model: model.layers[1],
    "Model": lambda model: model,  # a functional one
    "Metric": lambda model: model.metrics[0],
    "Optimizer": lambda model: model.optimizer,
    "LossScaleOptimizer": lambda model: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
    "DVariable": lambda model: dtensor.DVariable,
    "tf.Variable": lambda model: tf.Variable(1.0),
    "context": lambda model: context,
}
NAMES = [
    *((owner, name, why) for owner, names in PRIVATE_NAMES.items() for name, why in names.items()),
    ("Layer", "_layers", "stats.py walks over the layers in their order"),
    ("Layer", "_metrics", "stats.py finds the routing metrics of a layer"),
    ("Layer", "_remat_mode", "recomputing.py asks for the mode of RematScope"),
    ("Layer", "_convert_input_args", "encoder.py and multi_task_recommender.py take strings"),
    ("Layer", "_allow_non_tensor_positional_args", "the same, for Python's lists"),
    ("Layer", "rematerialized_call", "recomputing.py recomputes in its own way"),
    ("Model", "_maybe_symbolic_build", "one_replica.py builds from the batch of one replica"),
    ("Model", "_distribute_strategy", "one_replica.py asks whether there are replicas"),
    ("Model", "_run_through_graph", "text_model.py refuses clone_model there"),
    ("Model", "_convert_inputs_to_tensors", "text_model.py checks ids before they are cut"),
    ("Model", "_compile_loss", "task_model.py asks whether compile was given a loss"),
    ("Model", "_flatten_metrics_in_order", "table_calls.py evaluates to a list as Keras does"),
    ("Optimizer", "_get_variable_index", "lazy_adam.py and optimizers.py find a variable's slots"),
    ("Optimizer", "_clip_gradients", "lazy_adam.py clips gradients of rows"),
    ("Optimizer", "_momentums", "lazy_adam.py and optimizers.py keep Adam's slots there"),
    ("Optimizer", "_velocities", "lazy_adam.py and optimizers.py keep Adam's slots there"),
    ("LossScaleOptimizer", "inner_optimizer", "optimizer.py finds the slots inside"),
    ("tf.Variable", "_unique_id", "deferred.py stands for a variable that Keras numbers by it"),
    ("context", "enable_run_metadata", "collectives.py records graphs"),
    ("context", "export_run_metadata", "collectives.py records graphs"),
    ("context", "disable_run_metadata", "collectives.py records graphs"),
]
# What tests below look at: an attribute of nodes, one of tensors, an argument of `evaluate`.
ELSEWHERE = {"_output_shapes", "_keras_mask", "_use_cached_eval_dataset"}
# Of tensorflow_text: sentencepiece_tokenizer.py names the resource, which its tests load.
ELSEWHERE |= {"_create_resource", "_model_resource", "_resource_handle"}
# Of Python, of tf2onnx (which the `onnx` tests run), and our own on Keras' tensors.
OTHERS = {"_make", "_replace", "_fields", "_asdict", "_exit", "_getframe", "_optimizers"}
OTHERS |= {"_keras_logits"}
MODULES = {  # that are not public, and what is taken from them
    # stats.py and parameters.py; recomputing.py sets what weights are cast to when they are read
    "keras.src.backend.common": ["global_state", "variables"],
    "tensorflow.python.eager": ["context"],  # collectives.py
}
# Names of our own, on objects of our own, that a Keras object happens to have too.
CHANCE = {
    ("hashed.py", "_dtype"),
    ("run_folder.py", "_lock"),
    ("bounded_lines.py", "_path"),
}


@pytest.mark.parametrize(
    ("owner", "name", "why"), [pytest.param(*row, id=f"{row[0]}.{row[1]}") for row in NAMES]
)
def test_the_name_is_there(owner, name, why, model):
    assert hasattr(OWNERS[owner](model), name), f"{VERSIONS} have no {owner}.{name}: {why}"


@functools.cache
def sources():
    """The source of every module by its path."""
    return {
        path: path.read_text(encoding="utf-8")
        for folder in FOLDERS
        for path in sorted(folder.rglob("*.py"))
    }


def test_the_names_are_used_where_the_list_says():
    for _, name, why in NAMES:
        for file in re.findall(r"\w+\.py", why):
            used = [source for path, source in sources().items() if path.name == file]
            assert any(re.search(rf"\b{name}\b", source) for source in used), f"{name}: {why}"


def test_every_private_name_is_in_the_list(model):
    """So that this file does not fall behind the code."""
    listed = {name for _, name, _ in NAMES} | ELSEWHERE
    theirs = {name for owner in OWNERS.values() for name in dir(owner(model))}
    for path, source in sources().items():
        attributes, others = private_names(source)
        chance = {name for place, name in CHANCE if place == path.name}
        missing = (attributes - OTHERS) | (others & theirs - chance)
        assert missing <= listed, f"{path}: add {sorted(missing - listed)} to NAMES"


def private_names(source):
    """Private attributes of others; attributes of `self`, methods, and strings like such names."""
    attributes, others = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            own = ast.unparse(node.value) in ("self", "super()")
            (others if own else attributes).add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            others.add(node.value)
        elif isinstance(node, ast.ClassDef):
            others |= {x.name for x in node.body if isinstance(x, ast.FunctionDef)}
    return [{x for x in names if re.fullmatch(r"_[a-z]\w*", x)} for names in (attributes, others)]


def test_a_private_name_that_is_not_listed_is_found():
    source = "self._a\nx._b\ngetattr(x, '_c')\nx.__d__\nx.e\nclass F:\n  def _g(self): pass"
    assert private_names(source) == [{"_b"}, {"_a", "_c", "_g"}]


def test_every_private_module_is_in_the_list():
    for path, source in sources().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and not node.level:
                names, module = [x.name for x in node.names], node.module
            elif isinstance(node, ast.Import):
                names, module = [], " ".join(x.name for x in node.names)
            else:
                continue
            if re.search(r"\b(keras\.src|tensorflow\.python|tensorflow\.compiler)\b", module):
                assert set(names) <= set(MODULES.get(module, [])) and names, f"{path}: {module}"
    for module, names in MODULES.items():
        for name in names:
            importlib.import_module(f"{module}.{name}")


# === What they do ===


def test_keras_says_which_model_runs():
    """As stats.py asks from within a layer, to name its scalars in the logs."""
    from keras.src.backend.common import global_state

    found = []

    class Asking(keras.layers.Layer):
        def call(self, x):
            found.append(global_state.get_global_attribute("current_call_ctx").entry_layer)
            return x

    model = keras.Sequential([Asking()])
    model(tf.ones([1, 2]))
    assert found[-1] is model, VERSIONS


def test_keras_keeps_variables_without_values_in_a_list():
    """As parameters.py counts without taking memory."""
    from keras.src.backend.common import global_state

    from moe_zoo.models.parameters import WAITING

    waiting = global_state.get_global_attribute(WAITING)
    global_state.set_global_attribute(WAITING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            made = keras.Variable("zeros", (2,))
        assert global_state.get_global_attribute(WAITING) == [made], VERSIONS
    finally:
        global_state.set_global_attribute(WAITING, waiting)


def test_clone_model_runs_through_the_graph_by_a_function_of_its_own(model):
    """As text_model.py knows it by the module of that function."""
    called = []

    class Watched(keras.Model):
        def _run_through_graph(self, inputs, operation_fn=None, call_fn=None):
            called.append(getattr(operation_fn, "__module__", None))
            return super()._run_through_graph(inputs, operation_fn or (lambda x: x), call_fn)

    watched = Watched(model.input, model.output)
    cloning = keras.models.clone_model.__module__
    watched(tf.ones([4, 3]))
    watched(keras.Input((3,), 5))
    assert called and cloning not in called, VERSIONS
    keras.models.clone_model(watched, clone_function=lambda layer: layer)
    assert cloning in called, VERSIONS


def test_evaluate_uses_the_iterator_of_fit():
    """As task_model.py and some_batches.py leave alone what it is called with within `fit`."""
    source = inspect.getsource(keras.Model.evaluate)
    assert "_use_cached_eval_dataset" in source, VERSIONS


def test_losses_heed_the_mask_of_a_tensor():
    """As padded_targets.py leaves padding out."""
    y_pred = tf.constant([[0.0], [2.0]])
    y_pred._keras_mask = tf.constant([True, False])
    loss = keras.losses.MeanSquaredError()(tf.constant([[1.0], [0.0]]), y_pred)
    assert float(loss) == 1.0, VERSIONS  # (1 - 0)^2, without 2^2


def test_functions_that_recompute_have_their_names():
    """As recomputing.py looks for them among those that run."""
    running = []

    def look(x):
        frame = inspect.currentframe()
        while frame is not None:
            if frame.f_code.co_filename == recomputing._FILE:
                running.append(frame.f_code.co_name)
            frame = frame.f_back
        return x * x

    x = tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.recompute_grad(look)(x)
    tape.gradient(y, x)
    assert set(recomputing._FUNCTIONS) <= set(running), VERSIONS


def test_compile_is_defined_once_in_the_bases_of_a_model():
    """As xla.py watches it."""
    owner = next(x for x in keras.Model.__mro__ if "compile" in vars(x))
    assert "jit_compile" in inspect.signature(owner.compile).parameters, VERSIONS
    assert hasattr(owner, "compile_from_config"), VERSIONS


def test_keras_makes_train_and_test_functions_with_make_function(model):
    for name in ("make_train_function", "make_test_function"):
        source = inspect.getsource(getattr(keras.Model, name))
        assert "self._make_function(" in source, f"{VERSIONS}: {name} no longer calls it"


def test_symbolic_build_takes_a_batch():
    assert "data_batch" in inspect.signature(keras.Model._symbolic_build).parameters, VERSIONS


def test_a_keras_variable_is_its_value(model):
    kernel = model.layers[-1].kernel
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
    found = optimizer_slots(model)
    assert len(found) == slots, f"{VERSIONS}: slots of {optimizer}"
    assert all(variable is model.layers[-1].kernel for _, variable in found)


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
