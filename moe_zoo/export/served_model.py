"""SavedModels called by name, as the models that they were made of."""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from moe_zoo.validation import shown

from .saved_model import ENDPOINTS, check_saved_model

IDS = "_ids"  # ends the name of an endpoint that does with ids what another one does with texts


class ServedModel:
    """A SavedModel with its endpoints as methods, which take named arguments with default values.

    `help(served)` lists them, `help(served.generate)` describes one. An argument of texts is a
    `str` or a list of these, one of ids may be ragged, lists or of int64. Where an endpoint of
    texts, such as `generate`, has another one for ids, `generate_ids`, it takes both. Ids of
    several lengths are padded, and the padding stays between a prompt and what follows. Texts come
    back as `str`, numbers as tensors.

    Args:
        served: what `tf.saved_model.load` returned.
        docstrings: `dict` of docstring by endpoint.
        pad_id: `int` that pads rows of ids, or `None`.
    """

    def __init__(
        self, served: Any, docstrings: Mapping[str, str | None], pad_id: int | None = None
    ):
        self.served, self.pad_id = served, pad_id
        names = sorted(set(served.signatures) - {"serving_default"})
        self.functions = {name: getattr(served, name) for name in names}
        methods = {name.removesuffix(IDS) for name in names} | set(names)
        for name in sorted(methods):
            setattr(self, name, self._method(name, docstrings))
        self.__doc__ = "\n".join(
            ["A SavedModel with the endpoints:\n"]
            + [f"    {name}{inspect.signature(getattr(self, name))}" for name in sorted(methods)]
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.functions]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"Expected one of the endpoints {', '.join(self.__dict__.get('functions', ()))}. "
            f"Received: {shown(name)}. Export the model with what this one needs, such as a "
            "tokenizer."
        )

    def _method(self, name: str, docstrings: Mapping[str, str | None]) -> Callable:
        of_texts, of_ids = self.functions.get(name), self.functions.get(name + IDS)
        function: Any = of_texts or of_ids
        signature = inspect.signature(function)
        first = next(iter(signature.parameters), "")

        def call(*args: Any, **kwargs: Any) -> Any:
            if not args and first in kwargs:  # ids may have another name
                args = (kwargs.pop(first),)
            takes_ids = of_ids is not None and not (args and _is_text(args[0]))
            return self._call(name, of_ids if takes_ids else function, args, kwargs)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = docstrings.get(name) or docstrings.get(name + IDS)
        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    def _call(self, name: str, function: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"Expected {name}{inspect.signature(function)}. Received: {error}. Give the "
                "arguments by these names."
            ) from error
        (specs, _) = function.concrete_functions[0].structured_input_signature
        specs = dict(zip(inspect.signature(function).parameters, specs, strict=True))
        arguments = {
            argument: self._tensor(f"{name}: {argument}", value, specs[argument])
            for argument, value in bound.arguments.items()
        }
        given = next(iter(bound.arguments.values()), None)
        return tf.nest.map_structure(
            lambda x: _plain(x, isinstance(given, str | bytes)), function(**arguments)
        )

    def _tensor(self, name: str, value: Any, spec: Any) -> Any:
        if not isinstance(spec, tf.TensorSpec):  # a nest, such as a table of columns
            if not isinstance(value, dict) or value.keys() != spec.keys():
                raise ValueError(
                    f"Expected {name} as a dict of {', '.join(map(str, spec))}. Received: "
                    f"{shown(value)}. Give each column by its name."
                )
            return {key: self._tensor(f"{name}[{key!r}]", value[key], spec[key]) for key in spec}
        if spec.dtype == tf.string and spec.shape.rank == 1 and isinstance(value, str | bytes):
            value = [value]
        try:
            if spec.dtype.is_integer and spec.shape.rank == 2:
                value = self._dense(value)
            given = tensor = tf.convert_to_tensor(value)
            if spec.dtype.is_floating or given.dtype.is_integer and spec.dtype.is_integer:
                tensor = tf.cast(given, spec.dtype)
            if tensor.dtype != spec.dtype or not spec.shape.is_compatible_with(tensor.shape):
                raise ValueError(f"{tensor.dtype.name} of shape {tensor.shape}")
            if spec.dtype.is_integer and tf.reduce_any(tf.cast(tensor, given.dtype) != given):
                raise ValueError(f"too large for {spec.dtype.name}")
        except (TypeError, ValueError, tf.errors.OpError) as error:
            kind = {tf.string: "text"}.get(spec.dtype, spec.dtype.name)
            raise ValueError(
                f"Expected {name} of {kind} of shape {spec.shape}. Received: {shown(value)}: "
                f"{error}. See help() of the endpoint."
            ) from error
        return tensor

    def _dense(self, value: Any) -> Any:
        """Return rows of ids padded, `<int>[B, T]`."""
        if isinstance(value, list | tuple):
            value = tf.ragged.constant([list(row) for row in value], ragged_rank=1)
        if not isinstance(value, tf.RaggedTensor):
            return value
        lengths = value.row_lengths()
        if self.pad_id is None and len(np.unique(lengths)) > 1:
            raise ValueError("rows of several lengths, which the model has no pad_id for")
        return value.to_tensor(self.pad_id or 0)


def load_served(folder: str | os.PathLike) -> ServedModel:
    """Load a SavedModel of this library whose endpoints are called by name.

    Args:
        folder: `str` or path, what `model.export(folder)` wrote.

    Returns:
        `ServedModel`.

    Raises:
        FileNotFoundError: If there is no SavedModel.
        ValueError: If a file was changed since it was written.

    Example:

    >>> import tempfile
    >>> from moe_zoo.models import LSTMLanguageModel
    >>> model = LSTMLanguageModel(100, 16, middle=[], pad_id=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.export(folder)
    ...     served = load_served(folder)
    >>> served.generate([[5, 7], [11]], max_new_tokens=3).shape
    TensorShape([2, 5])
    """
    check_saved_model(folder)
    about: dict[str, Any] = {"endpoints": {}, "pad_id": None}
    if (file := Path(folder, ENDPOINTS)).exists():
        about = json.loads(file.read_text("utf-8"))
    try:
        import tensorflow_text  # noqa: F401  (registers the tokenizers' operations)
    except ImportError:
        pass  # models of ids need none
    return ServedModel(tf.saved_model.load(Path(folder)), about["endpoints"], about["pad_id"])


def _plain(tensor: tf.Tensor, single: bool) -> Any:
    """Return texts as a list of `str`, or as one `str` if `single`; other tensors as they are."""
    if tensor.dtype != tf.string or tensor.shape.rank != 1:
        return tensor
    texts = [text.decode("utf-8", "replace") for text in tensor.numpy()]
    return texts[0] if single else texts


def _is_text(value: Any) -> bool:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    if isinstance(value, str | bytes):
        return True
    dtype = getattr(value, "dtype", None)
    return dtype == tf.string or getattr(dtype, "kind", "") in ("U", "S", "O")
