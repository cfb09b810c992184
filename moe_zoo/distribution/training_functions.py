"""The functions that Keras' `fit`, `evaluate` and `predict` call for each batch, on a mesh."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.processes import process_count

from .callbacks import fit_together
from .checks import check_compiled, check_equal_everywhere
from .cluster import collective
from .deferred import deferring
from .saving import save_together
from .sharded_variable import to_host
from .xla import turn_off_xla

if TYPE_CHECKING:
    from .expert_parallel import ExpertParallel

PATCHES = ("_make_function", "make_predict_function", "expert_parallel")
CLUSTER_PATCHES = ("save", "save_weights", "fit")


def patch_model(model: keras.Model, parallel: "ExpertParallel") -> None:
    """Let a model make its functions for the mesh; the rest of `fit` stays Keras' own."""
    model._make_function = functools.partial(make_function, model, parallel)
    model.make_predict_function = functools.partial(make_predict_function, model, parallel)
    model.expert_parallel = parallel
    if process_count() > 1:
        for name in ("save", "save_weights"):
            save = functools.partial(getattr(type(model), name), model)
            setattr(model, name, functools.partial(save_together, save, parallel.mesh))
        model.fit = functools.partial(fit_together, model, parallel.mesh)
    forget_functions(model)


def restore_model(model: keras.Model) -> None:
    """Undo `patch_model`."""
    for name in (*PATCHES, *CLUSTER_PATCHES):
        if name in vars(model):
            delattr(model, name)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and "apply" in vars(optimizer):
        del optimizer.apply
    forget_functions(model)


def forget_functions(model: keras.Model) -> None:
    """Let a model make its functions again when they are needed."""
    model.train_function = model.test_function = model.predict_function = None


def make_function(
    model: keras.Model, parallel: "ExpertParallel", step: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function of an iterator that runs `step` on as many batches as Keras asks for.

    Args:
        model: The Keras model.
        parallel: Its `ExpertParallel`.
        step: `model.train_step` or `model.test_step`.
    """
    check_compiled(model)  # it may have been compiled since it was distributed
    turn_off_xla(model)
    graph = tf.function(step, autograph=False)
    training = step == model.train_step
    together = CollectiveStep("a training step" if training else "a test step", parallel.mesh)
    prepared = False
    if training and model.built:  # so that callbacks can restore what they saved
        parallel.place(model)

    def function(iterator: Any) -> Any:
        nonlocal prepared
        outputs = None
        for _, batch in zip(range(model.steps_per_execution), iterator, strict=False):
            batch = keras.tree.map_structure(_none_for_optional, batch)
            if not prepared:
                with deferring():
                    model._symbolic_build(data_batch=batch)
                parallel.place(model)
                if training:
                    parallel.batches.check(batch)
                prepared = True
            with together.on(batch):
                batch, spread = parallel.batches.place(batch)
                with parallel.batches.scope(spread):
                    outputs = graph(batch)
        if outputs is None:
            raise StopIteration
        with collective(together.name):
            return keras.tree.map_structure(to_host, outputs)

    return function


def make_predict_function(
    model: keras.Model, parallel: "ExpertParallel", force: bool = False
) -> None:
    """Set `model.predict_function`, of a list of batches, as Keras' own method does."""
    if model.predict_function is not None and not force:
        return
    graph = tf.function(model.predict_step, autograph=False)
    together = CollectiveStep("a predict step", parallel.mesh)
    prepared = False

    def function(batches: list[Any]) -> Any:
        nonlocal prepared
        outputs = []
        for batch in batches:
            batch = keras.tree.map_structure(_none_for_optional, batch)
            if not prepared:
                if not model.built:
                    model(keras.tree.map_structure(lambda part: part[:1], batch[0]))
                parallel.place(model)
                prepared = True
            with together.on(batch):
                batch, spread = parallel.batches.place(batch)
                with parallel.batches.scope(spread):
                    outputs.append(keras.tree.map_structure(to_host, graph(batch)))
        return keras.tree.map_structure(lambda *parts: tf.constant(np.concatenate(parts)), *outputs)

    model.predict_function = function


class CollectiveStep:
    """A step that all processes run on each batch at the same time.

    Args:
        name: Name of the step, for messages.
        mesh: The mesh on which it runs.
    """

    def __init__(self, name: str, mesh: dtensor.Mesh):
        self.name, self.mesh = name, mesh
        self.compiled: set[tuple] = set()  # shapes and dtypes of batches

    @contextlib.contextmanager
    def on(self, batch: Any) -> Iterator[None]:
        """Run the step on one batch within this context; the first of its shapes is compiled."""
        parts = [part for part in keras.tree.flatten(batch) if part is not None]
        shapes = tuple((tuple(part.shape), str(part.dtype)) for part in parts)
        if shapes not in self.compiled:
            check_equal_everywhere(parts, self.mesh, f"the first batch of {self.name}")
        with collective(self.name, compiles=shapes not in self.compiled):
            yield
        self.compiled.add(shapes)


def _none_for_optional(part: Any) -> Any:
    return None if isinstance(part, tf.experimental.Optional) else part
