"""All features of a model: adapt them together and encode raw columns as numbers."""

import itertools
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.validation import check_int, shown

from .category import MISSING
from .column_types import as_dtype
from .columns import as_table, check_columns, flat_values, plain_names
from .feature import Feature
from .named_features import check_features

Columns = Mapping[str, Any]  # raw values by name


class FeatureEncoder(keras.layers.Layer):
    """Encodes raw columns as numbers, by Keras' preprocessing layers without trained weights.

    Args:
        features: `dict` of `Feature` by column, or a list of pairs; they are copied.
        name: `str`.

    Input: `dict` of columns; those that are no feature are left out. Output: `dict` of
    `<float32 or int32>[B]`, or `<int32>[B, L]` of a list, by feature.

    Raises:
        ValueError: If there is no feature, a value is not a feature, a name occurs twice, the
            encoder is used before it is adapted, or a column is missing or does not fit its
            feature.

    Example:

    >>> from moe_zoo.models.recommender.features import Category, Number
    >>> encoder = FeatureEncoder({"age": Number(), "city": Category()})
    >>> encoder.adapt({"age": [20, 40], "city": ["Rome", "Oslo"]})
    >>> encoded = encoder({"age": [40, None], "city": ["Bath", "Oslo"]})
    >>> {name: values.numpy().tolist() for name, values in encoded.items()}
    {'age': [1.0, 0.0], 'city': [1, 2]}
    """

    def __init__(
        self,
        features: Mapping[str, Feature] | Iterable[tuple[str, Feature]],
        name: str | None = None,
    ):
        super().__init__(dtype="float32", name=name)
        self._convert_input_args = False  # large ids and strings come as they are
        self._allow_non_tensor_positional_args = True
        self.supports_jit = False
        self.features = check_features(features)
        self.lookups: dict = {}
        self._make_lookups()

    @property
    def adapted(self) -> bool:
        """Whether all features are adapted."""
        return all(feature.adapted for feature in self.features.values())

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Learn vocabularies, quantiles and means from the training part.

        Args:
            data: `dict` of columns, or an iterable of such batches, such as a `tf.data.Dataset`,
                with labels or without; read once.
            steps: `int`, batches to read; `None` for all.

        Raises:
            ValueError: If all features are adapted already, the data are not batches of columns,
                have no rows or no end, or a column has no value.
        """
        missing = {name: x for name, x in self.features.items() if not x.adapted}
        if not missing:
            raise ValueError(
                "Expected features that are not adapted yet. Received: all are. Make a new model "
                "to adapt it to other data."
            )
        # Copies are adapted, so that data that are refused leave no trace.
        missing = {name: feature.copy() for name, feature in missing.items()}
        counts = dict.fromkeys(missing, 0)
        kinds: dict[str, str] = {}
        for batch in _batches(data, steps):
            check_columns(batch, self.features)
            for name, feature in missing.items():
                column = feature.column(name, batch[name])
                kind = feature.dtype or kinds.get(name)
                kind = kind or ("string" if column.dtype == tf.string else "int64")
                if count := _observe(name, feature, column, kind):
                    counts[name], kinds[name] = counts[name] + count, kind
        for name, feature in missing.items():
            if not counts[name]:
                raise ValueError(
                    f"Expected values in column {shown(name)} of the training part. Received: "
                    "none, or missing ones only. Leave the feature out."
                )
            feature.finish()
        self.features.update(missing)
        self._make_lookups()

    def call(self, inputs: Any) -> Any:
        self.check_adapted()
        inputs = as_table(inputs)
        check_columns(inputs, self.features)
        return {
            name: feature.encode(self.lookups[name], feature.read(name, inputs[name]))
            for name, feature in self.features.items()
        }

    def encode_all(self, columns: Columns, batch_size: int = 65536) -> dict[str, np.ndarray]:
        """Encode columns in memory, some rows at a time: `dict` of arrays, lists padded by 0.

        Args:
            columns: `dict` of columns.
            batch_size: `int`.

        Raises:
            ValueError: If the columns have different lengths.
        """
        batch_size = check_int("batch_size", batch_size, 1)
        columns = {name: x.read(name, columns[name]) for name, x in self.features.items()}
        lengths = {name: int(values.shape[0]) for name, values in columns.items()}
        rows = next(iter(lengths.values()))
        if set(lengths.values()) != {rows}:
            raise ValueError(
                f"Expected columns of one length. Received: {shown(lengths)}. A row has a "
                "value in each."
            )
        parts = [
            self({name: x[i : i + batch_size] for name, x in columns.items()})
            for i in range(0, max(rows, 1), batch_size)
        ]
        return {name: _join([part[name].numpy() for part in parts]) for name in self.features}

    def check_adapted(self) -> None:
        """Raise `ValueError` unless all features are adapted.

        Raises:
            ValueError: If a feature is not adapted.
        """
        waiting = [name for name, feature in self.features.items() if not feature.adapted]
        if waiting:
            raise ValueError(
                f"Expected features that are adapted. Received: {', '.join(map(repr, waiting))}, "
                "which are not. Call adapt(data) with the training part first."
            )

    def raw_specs(self) -> dict[str, tf.TensorSpec]:
        """Return the inputs of a served model: `dict` of `tf.TensorSpec` by feature."""
        specs = {}
        for name, plain in plain_names(self.features).items():
            feature = self.features[name]
            lists = feature.is_list and feature.separator is None
            specs[name] = tf.TensorSpec([None] * (1 + lists), feature.dtype, plain)
        return specs

    def encoded_specs(self) -> dict[str, tf.TensorSpec]:
        """Return the outputs of `call`: `dict` of `tf.TensorSpec` by feature."""
        specs = {}
        for name, plain in plain_names(self.features).items():
            feature = self.features[name]
            shape = [None] * (1 + feature.is_list)
            specs[name] = tf.TensorSpec(shape, feature.encoded_dtype, plain)
        return specs

    def _make_lookups(self) -> None:
        if self.adapted:
            self.lookups = {name: x.make_lookup() for name, x in self.features.items()}
            self.built = True


def _observe(name: str, feature: Feature, column: tf.Tensor, kind: str) -> int:
    """Let a feature observe a column, read as `kind`; return the number of values."""
    missing: Any = MISSING.get(kind) if feature.missing is None else feature.missing
    kinds: dict[str, Any] = {"string": str, "int64": numbers.Integral}
    if not isinstance(missing, kinds.get(kind, type(None))):
        raise ValueError(
            f"Expected `missing` of column {shown(name)} to be one of its values. Received: "
            f"missing={shown(missing)} in a column of type {kind}. Give one of that type."
        )
    values = flat_values(name, as_dtype(name, column, kind, missing))
    values = values[np.isfinite(values) if kind == "float32" else values != missing]
    if len(values):
        feature.observe(values)
    return len(values)


def _batches(data: Any, steps: int | None) -> Iterator[Any]:
    """Yield batches of columns, without their labels."""
    steps = None if steps is None else check_int("steps", steps, 1)
    if isinstance(as_table(data), dict):
        data = [data]
    try:
        iter(data)
    except TypeError as error:
        raise ValueError(
            f"Expected a dict of columns, or batches of such. Received: data={shown(data)}. Give "
            "the training part, such as {'age': [20, 40]}."
        ) from error
    if isinstance(data, tf.data.Dataset) and steps is None:
        if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "Expected data with an end. Received: a dataset that repeats for ever. Give steps=."
            )
    for batch in itertools.islice(data, steps):
        yield as_table(batch[0] if isinstance(batch, tuple | list) else batch)


def _join(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate parts, with lists padded by 0 to the longest."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    length = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(x, ((0, 0), (0, length - x.shape[1]))) for x in parts])
