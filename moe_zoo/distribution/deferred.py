"""Variables whose values are computed when they are placed, so that no device holds them all."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf


class DeferredValue:
    """Stands in for a `tf.Variable` that is not on its mesh yet.

    Graphs that are only traced for shapes may read it.

    Args:
        initial_value: Function without arguments that returns the value.
        dtype: The dtype of the value.
    """

    def __init__(self, initial_value: Callable[[], Any], dtype: Any):
        self.initial_value, self.dtype = initial_value, tf.dtypes.as_dtype(dtype)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        return tf.convert_to_tensor(self.initial_value(), dtype or self.dtype, name=name)

    @property
    def _unique_id(self) -> str:  # by which an optimizer numbers variables
        return str(id(self))

    def __getattr__(self, name: str) -> Any:  # such as an operator, which Keras calls on the value
        return getattr(tf.convert_to_tensor(self), name)

    def numpy(self) -> np.ndarray:
        """Return the value, computed on the host."""
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.convert_to_tensor(self).numpy()


@contextlib.contextmanager
def deferring() -> Iterator[None]:
    """Defer the values of variables that are made within this context by an initializer."""

    def create(
        next_creator: Any, initial_value: Any = None, dtype: Any = None, **options: Any
    ) -> Any:
        if callable(initial_value) and dtype is not None:
            return DeferredValue(initial_value, dtype)
        return next_creator(initial_value=initial_value, dtype=dtype, **options)

    with tf.variable_creator_scope(create):
        yield
