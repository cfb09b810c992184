"""A recommender of several tasks, from raw features to an output for each."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.layers import TaskMixing
from moe_zoo.models.recommender.features.columns import as_table, check_columns
from moe_zoo.models.recommender.features.encoder import FeatureEncoder
from moe_zoo.models.recommender.features.named_features import feature_pairs
from moe_zoo.parts import release_part, take_parts
from moe_zoo.validation import check_bool, check_rate

from .batches import batches_of, is_batches
from .check_tasks import check_tasks, trained_tasks
from .core import RecommenderCore
from .features import Feature
from .task_model import TaskModel
from .tasks import Task


@keras.saving.register_keras_serializable(package="moe_zoo")
class MultiTaskRecommender(TaskModel):
    """Predicts several tasks from the raw features of a row, over any mixing of the zoo.

    Two parts: `encode`, raw values to numbers, by Keras' preprocessing layers; and `core`, a Keras
    model of these numbers, which has all weights. `fit` on raw features does both. To train many
    epochs, on a mesh, or several models, encode once and train `core`.

    Args:
        features: `dict` of `Feature` by column, or a list of pairs; copied, so that one description
            can serve several models.
        tasks: list of `Task`.
        mixing: layer `[B, D] -> [B, T, U]` such as `MMoE`, T the number of tasks without products,
            which it learns from `tasks`.
        uncertainty_weights: `bool`, learn the weights of the tasks' losses; see `TaskModel`.
        unseen_rate: `float`, chance that a value of a feature with an embedding is taken for an
            unseen one in training, so that unseen ones are predicted by the other features.
        dtype: Keras dtype policy of embeddings and towers; the mixing has its own.
        name: `str`.

    Input: `dict` of raw columns, strings and numbers as they are, by feature. Output: `dict` of
    `<float32>[B]`, or `[B, C]` of classes, by task.

    Raises:
        ValueError: If a name occurs twice, a product has tasks that do not exist, the mixing has
            another number of tasks or belongs to another model, the model is used before `adapt`,
            or a column is missing.

    Example:

    >>> from moe_zoo.experts import MLPExperts
    >>> from moe_zoo.layers import MMoE
    >>> from moe_zoo.models.recommender.features import Category, Number
    >>> from moe_zoo.models.recommender.tasks import BinaryTask, RegressionTask
    >>> model = MultiTaskRecommender(
    ...     features={"age": Number(), "city": Category(embedding_dim=4)},
    ...     tasks=[BinaryTask("click"), RegressionTask("rating", weight=0.5)],
    ...     mixing=MMoE(MLPExperts(4, (16,))),
    ... )
    >>> x = {"age": [20, 30, None], "city": ["Rome", "Oslo", "Rome"]}
    >>> y = {"click": [0, 1, 1], "rating": [float("nan"), 2.0, 5.0]}
    >>> model.adapt(x)
    >>> model.compile("adam")
    >>> history = model.fit(x, y, verbose=0)
    >>> sorted(name for name in history.history if not name.startswith("mmoe"))[:3]
    ['click_accuracy', 'click_auc', 'click_calibration']
    >>> predictions = model.predict({"age": [41.5], "city": ["Bath"]}, verbose=0)
    >>> {name: value.shape for name, value in predictions.items()}
    {'click': (1,), 'rating': (1,)}
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
        super().__init__(tasks, dtype=keras.dtype_policies.get(dtype), name=name)
        self._convert_input_args = False  # strings, and ids too large for a float
        self._allow_non_tensor_positional_args = True
        self.autocast = False
        self.encoder = FeatureEncoder(features, name="encoder")
        self.uncertainty_weights = check_bool("uncertainty_weights", uncertainty_weights)
        self.unseen_rate = check_rate("unseen_rate", unseen_rate)
        # Past Keras, to which the mixing is a layer of the core, so that it is there once.
        object.__setattr__(self, "mixing", mixing)
        self._core: Any = None
        take_parts(self, mixing=mixing)
        mixing.set_tasks([task.name for task in trained_tasks(tasks)])
        self._finish()

    @property
    def features(self) -> dict[str, Feature]:  # type: ignore[override]
        """The features by name, as they were adapted."""
        return self.encoder.features

    @property
    def raw_features(self) -> dict[str, Feature]:
        return self.features

    @property
    def core(self) -> RecommenderCore:
        """The `RecommenderCore` of encoded features. Raises `ValueError` before `adapt`."""
        self.encoder.check_adapted()
        return self._core

    @property
    def log_variances(self) -> keras.Variable | None:
        return self.core.log_variances

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Learn vocabularies, quantiles and means, and make the core; see `FeatureEncoder`."""
        self.encoder.adapt(data, steps)
        self._finish()

    def encode(self, data: Any, batch_size: int = 65536) -> Any:
        """Encode raw columns as the inputs of `core`.

        Args:
            data: `dict` or frame of columns; a `tf.data.Dataset` of such batches, with labels or
                without; or another iterable of batches, tuples or lists.
            batch_size: `int`, rows of a table that are encoded at a time.

        Returns:
            `dict` of arrays; a `tf.data.Dataset`, whose labels stay; or a generator.
        """
        self.encoder.check_adapted()
        if isinstance(data, tf.data.Dataset):
            return data.map(_first(self.encoder), num_parallel_calls=tf.data.AUTOTUNE)
        if is_batches(data):
            return (_first(self._encode_columns)(*_tuple(batch)) for batch in batches_of(data))
        return self._encode_columns(data, batch_size)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, tf.Tensor]:
        return self.core(self.encoder(inputs), training=training)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        inputs = as_table(inputs)
        check_columns(inputs, self.features)
        return self.output_specs(next(iter(inputs.values())).shape[0])

    def read_inputs(self, inputs: Any) -> dict[str, tf.Tensor]:
        self.encoder.check_adapted()
        inputs = as_table(inputs)
        check_columns(inputs, self.features)
        return {name: feature.read(name, inputs[name]) for name, feature in self.features.items()}

    def input_specs(self) -> dict[str, tf.TensorSpec]:
        """Return the inputs of the model: `dict` of `tf.TensorSpec` by feature."""
        self.encoder.check_adapted()
        return self.encoder.raw_specs()

    def _finish(self) -> None:
        if self.encoder.adapted:
            release_part(self, self.mixing)  # the core takes it
            self._core = RecommenderCore(
                self.features,
                self.tasks,
                self.mixing,
                self.uncertainty_weights,
                self.unseen_rate,
                self.dtype_policy,
                name="core",
            )
            self.built = True

    def _encode_columns(self, columns: Any, batch_size: int = 65536) -> dict[str, np.ndarray]:
        self.encoder.check_adapted()
        columns = as_table(columns)
        check_columns(columns, self.features)
        return self.encoder.encode_all(columns, batch_size)


def _tuple(batch: Any) -> tuple | list:
    return batch if isinstance(batch, tuple | list) else (batch,)


def _first(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return the function, applied to the first part of a batch."""

    def mapped(x: Any, *others: Any) -> Any:
        return (function(x), *others) if others else function(x)

    return mapped
