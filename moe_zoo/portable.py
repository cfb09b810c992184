"""Operations that ONNX and LiteRT have too, in place of faster ones that only TensorFlow has."""

import contextlib
import contextvars

_PORTABLE = contextvars.ContextVar("moe_zoo_portable", default=False)


def portable():
    """Whether what is traced now is to run outside of TensorFlow."""
    return _PORTABLE.get()


@contextlib.contextmanager
def portable_operations():
    """What is traced within this context gives the same results with more common operations.

    The loop over experts is unrolled, so that the graph grows with their number.
    """
    before = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(before)
