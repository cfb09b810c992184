"""Export of a model of several tasks: what it serves, and its form outside of TensorFlow."""

from typing import Any

import numpy as np
import tensorflow as tf

from moe_zoo.export import endpoint
from moe_zoo.export.portable_form import PROBE_ROWS, PortableForm
from moe_zoo.models.servable import Servable
from moe_zoo.validation import shown

from .features import Feature
from .tasks import Task


class TableExport(Servable):
    """Part of a Keras model of several tasks that serves tables.

    This is no `keras.Model`; see `Servable`.
    """

    tasks: list[Task]
    __call__: Any  # of Keras

    def input_specs(self) -> dict[str, tf.TensorSpec]:
        """Return the inputs of the model: `dict` of `tf.TensorSpec` by feature."""
        raise NotImplementedError(f"{type(self).__name__} has to define input_specs().")

    @property
    def raw_features(self) -> dict[str, Feature]:
        """The features that the model encodes itself, by name."""
        return {}

    def endpoints(self) -> dict[str, tf.function]:
        """Return the endpoints of a SavedModel: `serve`.

            serve({column: values}) -> {task: `<float32>[B]`, or `[B, C]` of classes}

        Each column is `<float32, int64 or string>[B]`, as in training; one of lists is `[B, L]`,
        padded with the value for a missing one, or `<string>[B]` if it has a separator. The
        signature `serving_default` takes the columns as keyword arguments, by their names; in a
        name all but letters, digits, `_`, `.` and `-` becomes `_`.

        Raises:
            ValueError: If the model is not adapted.

        Example:

        >>> import tempfile
        >>> import tensorflow as tf
        >>> from moe_zoo.layers import SharedBottom
        >>> from moe_zoo.models import MultiTaskRecommender
        >>> from moe_zoo.models.recommender.features import Category
        >>> from moe_zoo.models.recommender.tasks import BinaryTask
        >>> city = Category(vocabulary=["Rome", "Oslo"])
        >>> tasks = [BinaryTask("click")]
        >>> model = MultiTaskRecommender({"city": city}, tasks, SharedBottom((8,)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.export(folder)
        ...     served = tf.saved_model.load(folder)
        ...     outputs = served.serve({"city": tf.constant(["Oslo", "Bath", ""])})
        >>> {name: tuple(values.shape) for name, values in outputs.items()}
        {'click': (3,)}
        """

        def serve(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            """Return what each task predicts of a table of columns: `dict` by task."""
            return self(columns)

        return {"serve": endpoint(self, serve, self.input_specs())}

    def call_signature(self) -> list[Any]:
        return [self.input_specs()]

    def portable_form(self, runtime: str) -> PortableForm:
        """Return what goes in and out of a file outside of TensorFlow: a `PortableForm`.

        Args:
            runtime: `str`, what runs the file, for messages.

        Raises:
            ValueError: If one of the raw features needs more than numbers.
        """
        for name, feature in self.raw_features.items():
            if feature.onnx:
                raise ValueError(
                    f"Expected features that {runtime} has operations for. Received: "
                    f"{shown(name)}, {type(feature).__name__}, which needs {feature.onnx}. Export "
                    "`model.core`, and give it what `model.encode` gives."
                )
        specs = self.input_specs()
        names = [task.name for task in self.tasks]

        def answer(*columns: tf.Tensor) -> list[tf.Tensor]:
            outputs = self(dict(zip(specs, columns, strict=True)))
            return [tf.identity(outputs[name]) for name in names]

        numbers = [0.0, 1.0, np.nan if self.raw_features else -0.5]  # a raw number may be missing
        probe = {}
        for name, spec in specs.items():
            shape = [PROBE_ROWS] + [2] * (spec.shape.rank - 1)
            values = np.resize(numbers, shape) if spec.dtype.is_floating else np.ones(shape)
            probe[name] = values.astype(spec.dtype.as_numpy_dtype)
        return PortableForm(specs, names, answer, probe)
