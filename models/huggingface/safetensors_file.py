"""Files of the safetensors format, read and written one tensor at a time.

A file is the length of its header (8 bytes, little-endian), the header in JSON, and the tensors,
row by row. The package `safetensors` maps files into memory, so that all pages that were read count
as the process's own, and it writes only what stands in memory at once. Neither is so here.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

DTYPES = {
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
CODES = {dtype.name: code for code, dtype in DTYPES.items()}
LENGTH = 8
PART = 16 << 20  # bytes that are read at a time
METADATA = "__metadata__"


class StoredTensor(NamedTuple):
    """A tensor in a file: where it lies, not yet read."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    def read(self):
        """The values, `<float32>[...]`, which every dtype of `DTYPES` fits into exactly."""
        return self._read_rows(0, self.shape[0])

    def parts(self):
        """Yields (number of the first row, values) of all rows in turn, some megabytes each."""
        width = math.prod(self.shape[1:]) * np.dtype(np.float32).itemsize
        step = max(1, PART // width)
        for begin in range(0, self.shape[0], step):
            end = min(begin + step, self.shape[0])
            yield begin, self._read_rows(begin, end)

    def _read_rows(self, begin, end):
        width = math.prod(self.shape[1:])
        offset = self.offset + begin * width * self.dtype.itemsize
        count = (end - begin) * width
        values = np.fromfile(self.path, f"u{self.dtype.itemsize}", count, offset=offset)
        if len(values) < count:  # shorter than when its header was read
            raise _damaged(self.path, "shorter than its header says")
        values = values.view(self.dtype).reshape(end - begin, *self.shape[1:])
        return values.astype(np.float32, copy=False)


def read_header(path):
    """The tensors of a file: `dict` of `StoredTensor` by name. Reads nothing but the header.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is truncated, damaged, or holds another dtype than float32, float16
            and bfloat16.
    """
    path = Path(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        if size < LENGTH or length > size - LENGTH:
            raise _damaged(path, f"{size} bytes long, and its header does not fit into it")
        text = file.read(length)
    begin = LENGTH + length
    try:
        header = json.loads(text)
        entries = {name: entry for name, entry in header.items() if name != METADATA}
        tensors = {name: _stored(path, name, entry, begin) for name, entry in entries.items()}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (UnicodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise _damaged(path, "without a header that can be read") from error
    if begin + end != size:
        raise _damaged(path, f"{size} bytes long in place of {begin + end}")
    return tensors


def _stored(path, name, entry, begin):
    if (code := entry["dtype"]) not in DTYPES:
        raise ValueError(
            f"Expected tensors of {', '.join(DTYPES)}. Received: {path}, in which {name} is "
            f"{code}. Save it as float32 or bfloat16."
        )
    shape = tuple(map(int, entry["shape"]))
    first, end = map(int, entry["data_offsets"])
    if end - first != math.prod(shape) * DTYPES[code].itemsize or not 0 <= first <= end:
        raise _damaged(path, f"with {end - first} bytes for {name}, {code} of shape {list(shape)}")
    return StoredTensor(path, DTYPES[code], shape, begin + first)


def write_tensors(path, tensors):
    """Write a file, tensor by tensor.

    Args:
        path: of the new file.
        tensors: `dict` of `(dtype, shape, function)` by name; the function gives the values, and is
            called when it is their turn.
    """
    header: dict[str, dict] = {METADATA: {"format": "pt"}}
    end = 0
    for name, (dtype, shape, _) in tensors.items():
        begin, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        code = CODES[np.dtype(dtype).name]
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % LENGTH)  # the tensors begin at a multiple of 8
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(LENGTH, "little") + text)
        for dtype, shape, values in tensors.values():
            array = np.ascontiguousarray(values().astype(dtype, copy=False))
            if array.shape != tuple(shape):
                raise ValueError(f"Expected shape={tuple(shape)}. Received: shape={array.shape}.")
            file.write(array.view(f"u{array.itemsize}").data)


def _damaged(path, what):
    return ValueError(
        f"Expected a whole safetensors file. Received: {path}, which is {what}. Download or write "
        "it again."
    )
