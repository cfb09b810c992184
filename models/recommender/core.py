"""The part of a recommender with weights: encoded features in, an output for each task."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.layers import TaskMixing
from moe_zoo.models.recommender.features.columns import (
    as_column,
    as_table,
    check_columns,
    plain_names,
)
from moe_zoo.models.recommender.features.encoder import FeatureEncoder
from moe_zoo.models.recommender.features.feature import Feature
from moe_zoo.models.recommender.features.hide_values import HideValues
from moe_zoo.models.recommender.features.named_features import feature_pairs
from moe_zoo.parts import take_parts
from moe_zoo.scopes import portable
from moe_zoo.validation import check_bool

from .check_tasks import check_tasks, trained_tasks
from .task_model import TaskModel
from .tasks import ProductTask, Task


@keras.saving.register_keras_serializable(package="moe_zoo")
class RecommenderCore(TaskModel):
    """The model of encoded features: embeddings, mixing, a tower and an output for each task.

    It holds no strings, so it trains on a mesh of devices, under XLA, and as ONNX.

    Args:
        features: `dict` of adapted `Feature` by name, or a list of pairs.
        tasks: list of `Task`.
        mixing: layer `[B, D] -> [B, T, U]`, T the number of tasks with a tower: all but products.
        uncertainty_weights: `bool`, learn the weights of the tasks' losses.
        unseen_rate: `float`, chance that a value is taken for an unseen one in training; see
            `HideValues`.
        dtype: Keras dtype policy of embeddings and towers; the mixing has its own.
        name: `str`.

    Input: `dict` of numbers by feature, as `MultiTaskRecommender.encode` gives them. Output: `dict`
    of `<float32>[B]`, or `[B, C]` of classes, by task.

    Raises:
        ValueError: If a feature is not adapted, a name occurs twice, a product has tasks that do
            not exist, or the mixing has another number of tasks or belongs to another model.
    """

    def __init__(
        self,
        features: Mapping[str, Feature] | Iterable[tuple[str, Feature]],
        tasks: Iterable[Task],
        mixing: TaskMixing,
        uncertainty_weights: bool = False,
        unseen_rate: float = 0.02,
        dtype: Any = None,
        name: str | None = None,
    ):
        features = feature_pairs(features)
        tasks = check_tasks(tasks, mixing, dict(features))
        policy = keras.dtype_policies.get(dtype)
        super().__init__(tasks, dtype=policy, name=name)
        self.autocast = False  # the loss of precision is chosen below
        encoder = FeatureEncoder(features)
        encoder.check_adapted()
        self.features = encoder.features
        self.mixing = mixing
        self.uncertainty_weights = check_bool("uncertainty_weights", uncertainty_weights)

        # === Layers ===
        names = plain_names([*self.features, *(task.name for task in self.tasks)])
        self.embeddings = {
            name: feature.make_layer(names[name], policy) for name, feature in self.features.items()
        }
        self.hide = HideValues(unseen_rate, name="hide_values")
        self.trained = trained_tasks(self.tasks)
        take_parts(self, mixing=mixing)
        mixing.set_tasks([task.name for task in self.trained])
        self.towers = {task.name: _tower(task, names[task.name], policy) for task in self.trained}
        self._log_variances = (
            self.add_weight(
                shape=(len(self.labelled),),
                initializer="zeros",
                dtype="float32",
                autocast=False,
                name="log_variances",
            )
            if self.uncertainty_weights
            else None
        )
        self.specs = encoder.encoded_specs()
        self(  # makes all weights
            {
                name: keras.KerasTensor(spec.shape, spec.dtype.name, name=spec.name)
                for name, spec in self.specs.items()
            }
        )

    @property
    def log_variances(self) -> keras.Variable | None:
        return self._log_variances

    @property
    def unseen_rate(self) -> float:  # type: ignore[override]
        """The chance that a value is taken for an unseen one in training."""
        return self.hide.rate

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        # === One vector for each row, [B, D] ===
        parts = {name: layer(_padded(inputs[name])) for name, layer in self.embeddings.items()}
        tables = [name for name in parts if self.features[name].encoded_dtype == "int32"]
        seen = self.hide([parts[name] for name in tables], training=training)
        parts |= dict(zip(tables, seen, strict=True))
        x = tf.concat([_saturate(part, self.compute_dtype) for part in parts.values()], -1)

        # === One for each task, [B, T, U] ===
        mixed = tf.unstack(self.mixing(x, training=training), len(self.trained), 1)

        # === Logits [B, units] ===
        logits = {}
        for task, rows in zip(self.trained, mixed, strict=True):
            logits[task.name] = tf.cast(self.towers[task.name](rows, training=training), tf.float32)
        for task in self.tasks:
            if isinstance(task, ProductTask):
                logits[task.name] = task.product([logits[name] for name in task.of])
        return {task.name: task.output(logits[task.name]) for task in self.tasks}

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        check_columns(inputs, self.features)
        if not self.built:
            return super().compute_output_spec(inputs, training=training)
        return self.output_specs(next(iter(inputs.values())).shape[0])

    def read_inputs(self, inputs: Any) -> dict[str, tf.Tensor]:
        inputs = as_table(inputs)
        check_columns(inputs, self.features, "encoded column")
        return {name: as_column(name, inputs[name]) for name in self.features}

    def input_specs(self) -> dict[str, tf.TensorSpec]:
        """Return the inputs of the model: `dict` of `tf.TensorSpec` by feature."""
        return dict(self.specs)


def _padded(x: Any) -> tf.Tensor:
    """Pad lists to an array; batches from a generator hold ragged ones."""
    return x.to_tensor(0) if isinstance(x, tf.RaggedTensor) else x


def _saturate(x: tf.Tensor, dtype: str) -> tf.Tensor:
    """Cast with saturation, also for LiteRT, which lacks the operation."""
    if portable():
        return tf.cast(tf.clip_by_value(x, x.dtype.min, x.dtype.max), dtype)
    return tf.saturate_cast(x, dtype)


def _tower(task: Task, name: str, policy: Any) -> keras.Sequential:
    layers = [
        keras.layers.Dense(size, "relu", dtype=policy, name=f"{name}_tower_{i}")
        for i, size in enumerate(task.tower)
    ]
    layers.append(keras.layers.Dense(task.units, dtype=policy, name=f"{name}_logits"))
    return keras.Sequential(layers, name=f"{name}_tower")
