"""Arrow arrays as values of columns, and their types."""

from typing import Any

import numpy as np

from .columns import BadValue
from .value_type import ValueType

LARGEST = 2**63 - 1  # int64


def value_type(kind: Any) -> ValueType:
    """Return the type of an Arrow type.

    Args:
        kind: `pyarrow.DataType`.

    Returns:
        `ValueType`; that of a list is the type of its values.
    """
    from pyarrow import types

    shown = str(kind)
    if types.is_dictionary(kind):
        kind = kind.value_type
    if _is_list(kind):
        inner = value_type(kind.value_type)
        return ValueType("other" if inner.is_list else inner.dtype, True, shown)
    dtypes = {
        "int64": types.is_integer(kind),
        "bool": types.is_boolean(kind),
        "float64": types.is_floating(kind) or types.is_decimal(kind),
        "string": _is_text(kind),
        "null": types.is_null(kind),
    }
    return ValueType(
        next((dtype for dtype, is_it in dtypes.items() if is_it), "other"), False, shown
    )


def as_values(array: Any, dtype: str) -> np.ndarray | list[str]:
    """Return the values of an Arrow array that holds no lists.

    Args:
        array: `pyarrow.Array`.
        dtype: `"float64"`, `"int64"` or `"string"`.

    Returns:
        `<float64>[rows]` with NaN for null, `<int64>[rows]` with -1, or a list of `str` with `""`.

    Raises:
        BadValue: If a value does not have that type.
    """
    from pyarrow import types

    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if dtype == "int64":
        return _whole_numbers(array)
    if dtype == "float64" and value_type(array.type).dtype in ("int64", "bool", "float64"):
        return _numbers(array)
    return [_text(value, position) for position, value in enumerate(array.to_pylist())]


def as_lists(array: Any, dtype: str) -> list:
    """Return the values of an Arrow array of lists: a list for each row, without missing values.

    Args:
        array: `pyarrow.Array`.
        dtype: `"int64"` or `"string"`.

    Raises:
        BadValue: If a value does not have that type.
    """
    from pyarrow import compute

    lengths = compute.list_value_length(array).fill_null(0).to_numpy()
    ends = np.cumsum(lengths)
    try:
        values = as_values(array.flatten(), dtype)
    except BadValue as error:
        row = int(np.searchsorted(ends, error.position, side="right"))
        raise BadValue(row, error.expected, error.advice) from None
    missing = -1 if dtype == "int64" else ""
    return [
        [value for value in values[end - length : end] if value != missing]
        for end, length in zip(ends, lengths, strict=True)
    ]


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return any(
        is_it(kind)
        for is_it in (
            types.is_string,
            types.is_large_string,
            types.is_binary,
            types.is_large_binary,
        )
    )


def _whole_numbers(array: Any) -> np.ndarray:
    import pyarrow

    try:
        return array.cast(pyarrow.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    except pyarrow.ArrowInvalid:
        values = array.to_pylist()
        position = next(i for i, value in enumerate(values) if value and value > LARGEST)
        raise BadValue(position, "whole numbers below 2^63", "Write such ids as strings.") from None


def _numbers(array: Any) -> np.ndarray:
    plain = value_type(array.type).dtype == "int64" or array.type in _floats()
    numbers = np.array(
        array.to_numpy(zero_copy_only=False)
        if plain and not array.null_count
        else [np.nan if value is None else float(value) for value in array.to_pylist()],
        dtype=np.float64,
    )
    if np.isinf(numbers).any():
        position = int(np.argmax(np.isinf(numbers)))
        raise BadValue(position, "a finite number", "Correct the value.")
    return numbers


def _floats() -> tuple:
    import pyarrow

    return pyarrow.float16(), pyarrow.float32(), pyarrow.float64()


def _text(value: Any, position: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadValue(position, "text in UTF-8", "Write bytes as text first.") from None
    if isinstance(value, float):  # of a label
        return str(int(value)) if value.is_integer() else "" if np.isnan(value) else repr(value)
    return value if isinstance(value, str) else str(value)
