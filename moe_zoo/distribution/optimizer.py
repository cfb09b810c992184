"""The optimizer of a model on a mesh: its slots, its gradients and its index of variables."""

import functools
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from .deferred import deferring
from .environment import check_private_names


def prepare_optimizer(model: keras.Model) -> None:
    """Make the optimizer's slots, and let it take the gradients of embeddings as whole tensors.

    Raises:
        RuntimeError: If this release of Keras keeps the slots elsewhere.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not model.built:
        return
    if not optimizer.built:
        with deferring():
            optimizer.build(model.trainable_variables)
    check_private_names("Optimizer", getattr(optimizer, "inner_optimizer", optimizer))
    optimizer.apply = functools.partial(apply_dense, optimizer)


def apply_dense(optimizer: Any, gradients: list[Any], trainable_variables: Any = None) -> Any:
    """Apply gradients after those of embeddings are made whole tensors.

    The sparse ones need operations that DTensor does not have.
    """
    gradients = [None if x is None else tf.convert_to_tensor(x) for x in gradients]
    return type(optimizer).apply(optimizer, gradients, trainable_variables)


def reindex_optimizer(model: keras.Model) -> None:
    """Let the optimizer find its variables by their new values, by which Keras numbers them."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is not None and optimizer.built:
        optimizer._trainable_variables_indices = {
            optimizer._var_key(variable): index
            for index, variable in enumerate(optimizer._trainable_variables)
        }


def built_optimizers(model: keras.Model) -> Iterator[Any]:
    """Yield the optimizer of a model and the one inside it, those that are built."""
    optimizer = getattr(model, "optimizer", None)
    while optimizer is not None:
        if optimizer.built:
            yield optimizer
        optimizer = getattr(optimizer, "inner_optimizer", None)


def optimizer_slots(model: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return pairs of an optimizer's variable and the model's variable that it belongs to.

    Keras' optimizers keep their slots in lists with an item for each trainable variable.
    """
    pairs = []
    for optimizer in built_optimizers(model):
        variables = getattr(optimizer, "_trainable_variables", [])
        for kept in vars(optimizer).values():
            if isinstance(kept, list) and len(kept) == len(variables) and kept is not variables:
                for slots, variable in zip(kept, variables, strict=True):
                    pairs += [
                        (slot, variable)
                        for slot in keras.tree.flatten(slots)
                        if isinstance(slot, keras.Variable) and slot is not variable
                    ]
    return pairs
