"""The functions that Keras' `fit`, `evaluate` and `predict` call for each batch, on a mesh."""

import contextlib
import functools

import keras
import numpy as np
import tensorflow as tf

from .callbacks import fit_together
from .checks import check_compiled, check_equal_everywhere
from .cluster import collective, process_count
from .deferred import deferring
from .saving import save_together
from .sharded_variable import to_host
from .xla import turn_off_xla


def take_over(model, plan):
    """Have a model make its functions for the mesh; the rest of `fit` stays Keras' own."""
    model._make_function = functools.partial(make_function, model, plan)
    model.make_predict_function = functools.partial(make_predict_function, model, plan)
    model.expert_parallel = plan
    if process_count() > 1:
        for name in ("save", "save_weights"):
            save = functools.partial(getattr(type(model), name), model)
            setattr(model, name, functools.partial(save_together, save, plan.mesh))
        model.fit = functools.partial(fit_together, model, plan.mesh)
    forget_functions(model)


def give_back(model):
    """Undo `take_over`."""
    taken = ("_make_function", "make_predict_function", "expert_parallel")
    for name in (*taken, "save", "save_weights", "fit"):
        if name in vars(model):
            delattr(model, name)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and "apply" in vars(optimizer):
        del optimizer.apply
    forget_functions(model)


def forget_functions(model):
    """Let a model make its functions anew when they are wanted."""
    model.train_function = model.test_function = model.predict_function = None


def make_function(model, plan, step):
    """A function of an iterator that runs `step` on as many batches as Keras asks for.

    Args:
        model: the Keras model.
        plan: its `ExpertParallel`.
        step: `model.train_step` or `model.test_step`.
    """
    check_compiled(model)  # it may have been compiled since it was distributed
    turn_off_xla(model)
    graph = tf.function(step, autograph=False)
    training = step == model.train_step
    call = Call("a training step" if training else "a test step", plan.mesh)
    prepared = False
    if training and model.built:  # so that callbacks can restore what they saved
        plan.place(model)

    def function(iterator):
        nonlocal prepared
        outputs = None
        for _, batch in zip(range(model.steps_per_execution), iterator, strict=False):
            batch = keras.tree.map_structure(_none_for_optional, batch)
            if not prepared:
                with deferring():
                    model._symbolic_build(data_batch=batch)
                plan.place(model)
                if training:
                    plan.check_batch(batch)
                prepared = True
            with call.on(batch):
                batch, spread = plan.place_batch(batch)
                with plan.scope(spread):
                    outputs = graph(batch)
        if outputs is None:
            raise StopIteration
        with collective(call.name):
            return keras.tree.map_structure(to_host, outputs)

    return function


def make_predict_function(model, plan, force=False):
    """As Keras' own: sets `model.predict_function`, of a list of batches."""
    if model.predict_function is not None and not force:
        return
    graph = tf.function(model.predict_step, autograph=False)
    call = Call("a predict step", plan.mesh)
    prepared = False

    def function(batches):
        nonlocal prepared
        outputs = []
        for batch in batches:
            batch = keras.tree.map_structure(_none_for_optional, batch)
            if not prepared:
                if not model.built:
                    model(keras.tree.map_structure(lambda part: part[:1], batch[0]))
                plan.place(model)
                prepared = True
            with call.on(batch):
                batch, spread = plan.place_batch(batch)
                with plan.scope(spread):
                    outputs.append(keras.tree.map_structure(to_host, graph(batch)))
        return keras.tree.map_structure(lambda *parts: tf.constant(np.concatenate(parts)), *outputs)

    model.predict_function = function


def call_function(model, step):
    """A function that runs `step` on a batch, on the mesh if the model lies on one.

    There every device computes the whole batch, so that it is routed as on one device.

    Args:
        model: a built Keras model.
        step: a function of a batch, to be made into a graph.
    """
    graph = tf.function(step, autograph=False)
    plan = getattr(model, "expert_parallel", None)
    if plan is None:
        return graph

    def function(batch):
        batch, _ = plan.place_batch(batch, spread=False)
        with plan.scope(spread=False):
            return keras.tree.map_structure(to_host, graph(batch))

    return function


class Call:
    """What all processes do with each batch, at the same time.

    Args:
        name: `str`, for messages.
        mesh: the `dtensor.Mesh` on which they do it.
    """

    def __init__(self, name, mesh):
        self.name, self.mesh = name, mesh
        self.compiled = set()  # forms of batches

    @contextlib.contextmanager
    def on(self, batch):
        """Within this context they do it with one batch; the first of a form is compiled."""
        parts = [part for part in keras.tree.flatten(batch) if part is not None]
        form = tuple((tuple(part.shape), str(part.dtype)) for part in parts)
        if form not in self.compiled:
            check_equal_everywhere(parts, self.mesh, f"the first batch of {self.name}")
        with collective(self.name, compiles=form not in self.compiled):
            yield
        self.compiled.add(form)


def apply_dense(optimizer, gradients, trainable_variables=None):
    """An optimizer's `apply`, with gradients of embeddings as whole tensors.

    The sparse ones need operations that DTensor does not have.
    """
    gradients = [None if x is None else tf.convert_to_tensor(x) for x in gradients]
    return type(optimizer).apply(optimizer, gradients, trainable_variables)


def _none_for_optional(part):
    return None if isinstance(part, tf.experimental.Optional) else part
