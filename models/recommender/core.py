"""The part of a recommender that has weights: encoded features in, an output for each task."""

import keras
import tensorflow as tf

from moe_zoo.layers.task_mixing import TaskMixing
from moe_zoo.models.recommender.features.columns import (
    as_column,
    as_table,
    check_columns,
    plain_names,
)
from moe_zoo.models.recommender.features.encoder import FeatureEncoder, feature_pairs
from moe_zoo.models.recommender.features.hide_values import HideValues
from moe_zoo.models.recommender.tasks.binary import Probability
from moe_zoo.parts import take_parts
from moe_zoo.quantizing import quantize_as, quantized_config
from moe_zoo.scopes import portable
from moe_zoo.validation import shown

from .task_model import TaskModel
from .tasks import ProductTask, Task


@keras.saving.register_keras_serializable(package="moe_zoo")
class RecommenderCore(TaskModel):
    """Embeddings and numbers side by side, mixing, a tower for each task, outputs.

    It holds no strings, so it trains on a mesh of devices, under XLA, and as ONNX.

    Args:
        features: `dict` of adapted `Feature` by name, or a list of pairs.
        tasks: list of `Task`.
        mixing: layer `[B, D] -> [B, T, U]`, T the number of tasks with a tower: all but products.
        uncertainty_weights: `bool`, learn the weights of the tasks' losses.
        unseen_rate: `float`, chance that a value is taken for an unseen one in training; see
            `HideValues`.
        dtype: Keras dtype policy of embeddings and towers; the mixing has its own.
        **kwargs: `name`.

    Input: `dict` of numbers by feature, as `MultiTaskRecommender.encode` gives them. Output: `dict`
    of `<float32>[B]`, or `[B, C]` of classes, by task.

    Raises:
        ValueError: features that are not adapted; names that occur twice; a product of tasks that
            are not there; a mixing of another number of tasks, or one that another model has.
    """

    def __init__(
        self,
        features,
        tasks,
        mixing,
        uncertainty_weights=False,
        unseen_rate=0.02,
        dtype=None,
        **kwargs,
    ):
        features = feature_pairs(features)
        tasks = check_tasks(tasks, mixing, dict(features))
        policy = keras.dtype_policies.get(dtype)
        super().__init__(tasks, dtype=policy, **kwargs)
        self.autocast = False  # the loss of precision is chosen below
        encoder = FeatureEncoder(features)
        encoder.check_adapted()
        self.features = encoder.features
        self.mixing, self.uncertainty_weights = mixing, bool(uncertainty_weights)

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
            if uncertainty_weights
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
    def log_variances(self):
        return self._log_variances

    @property
    def unseen_rate(self):
        """The chance that a value is taken for an unseen one in training."""
        return self.hide.rate

    def call(self, inputs, training=None):
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

    def compute_output_spec(self, inputs, training=None):
        check_columns(inputs, self.features)
        if not self.built:
            return super().compute_output_spec(inputs, training=training)
        return output_specs(self.tasks, next(iter(inputs.values())).shape[0])

    def read_inputs(self, inputs):
        inputs = as_table(inputs)
        check_columns(inputs, self.features, "encoded column")
        return {name: as_column(name, inputs[name]) for name in self.features}

    def input_specs(self):
        """What the model takes: `dict` of `tf.TensorSpec` by feature."""
        return dict(self.specs)

    def get_config(self):
        return {"name": self.name, **recommender_config(self)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return revived(cls, config, custom_objects)


def _padded(x):
    """Lists as an array; batches from a generator hold ragged ones."""
    return x.to_tensor(0) if isinstance(x, tf.RaggedTensor) else x


def _saturate(x, dtype):
    """`tf.saturate_cast`, of whose operation LiteRT knows nothing."""
    if portable():
        return tf.cast(tf.clip_by_value(x, x.dtype.min, x.dtype.max), dtype)
    return tf.saturate_cast(x, dtype)


def recommender_config(model):
    """The configuration of features, tasks, mixing and the rest."""
    serialize = keras.saving.serialize_keras_object
    return {
        "features": [[name, serialize(feature)] for name, feature in model.features.items()],
        "tasks": [serialize(task) for task in model.tasks],
        "mixing": serialize(model.mixing),
        "uncertainty_weights": model.uncertainty_weights,
        "unseen_rate": model.unseen_rate,
        **quantized_config(model),
        "dtype": keras.dtype_policies.serialize(model.dtype_policy),
    }


def revived(kind, config, custom_objects):
    """A model of a class from what `recommender_config` gave."""

    def make(part):
        return keras.saving.deserialize_keras_object(part, custom_objects=custom_objects)

    arguments = {
        **config,
        "features": [(name, make(feature)) for name, feature in config["features"]],
        "tasks": [make(task) for task in config["tasks"]],
        "mixing": make(config["mixing"]),
    }
    quantized = arguments.pop("quantized", {})
    model = kind(**arguments)
    quantize_as(model, quantized)
    return model


def output_specs(tasks, batch):
    """The outputs as `dict` of `KerasTensor`."""
    return {
        task.name: keras.KerasTensor((batch,) if task.units == 1 else (batch, task.units))
        for task in tasks
    }


def check_tasks(tasks, mixing, features):
    """Tasks as a list, unless they do not fit together, or the mixing or the features.

    Raises:
        ValueError: as said.
    """
    if isinstance(tasks, str | Task) or not hasattr(tasks, "__iter__"):
        raise ValueError(
            f"Expected a list of tasks. Received: tasks={shown(tasks)}. Put a single one into a "
            "list, such as [BinaryTask('click')]."
        )
    tasks = list(tasks)
    for task in tasks:
        if not isinstance(task, Task):
            raise ValueError(
                "Expected tasks such as BinaryTask('click'). Received: "
                f"{shown(task)}. Describe what is to be predicted by one."
            )
    names = [task.name for task in tasks]
    if not any(task.label for task in tasks):
        raise ValueError(
            f"Expected at least one task with a label. Received: tasks={shown(tasks)}. Without one "
            "nothing can be learned."
        )
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"Expected tasks of different names. Received: {shown(name)} twice. Rename one."
            )
    for task in tasks:
        if task.label and task.name in features:
            raise ValueError(
                f"Expected labels that are no features. Received: {shown(task.name)} as both, so "
                "that the model would see what it has to predict. Take it out of the features, or "
                "rename it."
            )
    _check_products(tasks)
    trained = trained_tasks(tasks)
    if not isinstance(mixing, TaskMixing):
        raise ValueError(
            "Expected a mixing such as MMoE(MLPExperts(4, (16,))). Received: "
            f"mixing={shown(mixing)}. Give a layer of moe_zoo.layers for several tasks."
        )
    if mixing.num_tasks not in (None, len(trained)):
        raise ValueError(
            f"Expected a mixing for {len(trained)} tasks, which have a tower: "
            f"{', '.join(task.name for task in trained)}. Received: mixing.num_tasks="
            f"{mixing.num_tasks}. Leave num_tasks out: the mixing learns it from the tasks. "
            "Products have no tower and are not counted."
        )
    return tasks


def trained_tasks(tasks):
    """The tasks that have a tower: all but products."""
    return [task for task in tasks if not isinstance(task, ProductTask)]


def _check_products(tasks):
    before: dict = {}
    for task in [*trained_tasks(tasks), *tasks]:
        if isinstance(task, ProductTask):
            for name in task.of:
                if not isinstance(before.get(name), Probability):
                    raise ValueError(
                        "Expected a product of binary tasks of the model. Received: "
                        f"{shown(task.name)} of={shown(task.of)}, where {shown(name)} is "
                        f"{shown(before.get(name, 'none before it'))}. Give names of binary tasks, "
                        "or of products that stand before it."
                    )
        before[task.name] = task


def _tower(task, name, policy):
    layers = [
        keras.layers.Dense(size, "relu", dtype=policy, name=f"{name}_tower_{i}")
        for i, size in enumerate(task.tower)
    ]
    layers.append(keras.layers.Dense(task.units, dtype=policy, name=f"{name}_logits"))
    return keras.Sequential(layers, name=f"{name}_tower")
