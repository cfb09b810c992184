"""Variables whose values are computed when they are placed, so that no device holds them all."""

import contextlib

import tensorflow as tf


class DeferredValue:
    """Stands in for a `tf.Variable` that is not on its mesh yet.

    Graphs that are only traced for shapes may read it.

    Args:
        initial_value: function without arguments.
        dtype: `tf.DType`.
    """

    def __init__(self, initial_value, dtype):
        self.initial_value, self.dtype = initial_value, tf.dtypes.as_dtype(dtype)

    def __tf_tensor__(self, dtype=None, name=None):
        return tf.convert_to_tensor(self.initial_value(), dtype or self.dtype, name=name)

    @property
    def _unique_id(self):  # by which an optimizer numbers variables
        return str(id(self))

    def __getattr__(self, name):  # such as the operators that Keras calls on a variable's value
        return getattr(tf.convert_to_tensor(self), name)

    def numpy(self):
        """The value, computed on the host."""
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.convert_to_tensor(self).numpy()


@contextlib.contextmanager
def deferring():
    """Within this context new variables with an initializer wait for their place."""

    def create(next_creator, initial_value=None, dtype=None, **options):
        if callable(initial_value) and dtype is not None:
            return DeferredValue(initial_value, dtype)
        return next_creator(initial_value=initial_value, dtype=dtype, **options)

    with tf.variable_creator_scope(create):
        yield
