"""What a model of several tasks has in common: its losses, metrics, and how they are reported."""

import functools
import warnings

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.export import endpoint
from moe_zoo.export.portable_form import PROBE_ROWS, PortableForm
from moe_zoo.models.export import Servable
from moe_zoo.models.one_replica import BuiltFromOneReplica
from moe_zoo.models.recommender.tasks.metrics import TaskMetric
from moe_zoo.models.some_batches import SomeBatches
from moe_zoo.validation import shown

from .batches import is_batches
from .by_task import losses_by_task, metrics_by_task, weights_by_task
from .label_scale import LabelScale
from .task_data import TaskData
from .task_losses import for_keras, task_loss


class TaskModel(Servable, SomeBatches, BuiltFromOneReplica, keras.Model):
    """A Keras model whose outputs are a `dict` by task; losses and metrics come from the tasks.

    `compile("adam")` is enough; see `compile` for other losses, weights and metrics. A subclass has
    `log_variances`, and says by `read_inputs` how inputs are prepared that `fit`, `evaluate` and
    `predict` are given.

    The loss of a task is the mean over the rows that have its label, `sum_i w_i L_i / n` with the
    sample weights `w` and the number `n` of such rows, 0 without any. The loss is the sum of all by
    the tasks' weights. With learned weights each row's is `c e^-s L_i + s / 2` in place of `L_i`,
    with the task's `s = log sigma^2` (`log_variances`), and `c` 1/2 for a regression, 1 for classes
    (section 3 of the paper).

    Reference: Kendall et al., "Multi-Task Learning Using Uncertainty", CVPR 2018, arXiv 1705.07115.
    """

    def __init__(self, tasks, **kwargs):
        super().__init__(**kwargs)
        self.tasks = list(tasks)
        self.labelled = [task for task in self.tasks if task.label]
        self.loss_weights = weights_by_task(None, self.labelled)
        self._data = TaskData(self.read_inputs, self.labelled)
        self.task_metrics = {
            task.name: [TaskMetric(task, metric) for metric in task.metrics()]
            for task in self.labelled
        }

    @property
    def log_variances(self):
        """`<float32>[tasks with labels]`, or `None` without learned weights."""
        raise NotImplementedError(f"{type(self).__name__} has to define log_variances.")

    def read_inputs(self, inputs):
        """Inputs as `fit` is given them, as tensors; other than a `dict` they are left alone."""
        raise NotImplementedError(f"{type(self).__name__} has to define read_inputs().")

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
    ):
        """As Keras' own, with losses, weights and metrics by task.

        Args:
            optimizer: `str` or Keras optimizer.
            loss: Keras losses in place of the tasks' own and of their `weight`: a `dict` by task, a
                list in their order, or one for all; `None` for the tasks' own. Rows without a label
                do not count.
            loss_weights: what the loss of a task is multiplied by, beside its own `weight`, and
                with learned weights beside these: a `dict` by task, 1 for others; a list in their
                order; or a number if there is one task.
            metrics: Keras metrics beside the tasks' own, without sample weights: a `dict` by task,
                a list in their order, or a list of metrics if there is one task.
            weighted_metrics: the same, with sample weights.
            run_eagerly: `bool`.
            steps_per_execution: `int`.
            jit_compile: `bool` or `"auto"`.
            auto_scale_loss: `bool`, scale the loss in float16.

        Raises:
            ValueError: a name that is no task with a label; another number of values than tasks;
                weights that are negative or not finite; losses that leave a task out, or beside
                learned weights.
        """
        weights = weights_by_task(loss_weights, self.labelled)
        if loss is not None:
            loss = losses_by_task(loss, self.labelled)
            if self.uncertainty_weights:
                raise ValueError(
                    f"Expected the tasks' own losses with uncertainty_weights=True. Received: loss="
                    f"{shown(loss)}. Learned weights belong to likelihoods: leave one out."
                )
        given = {"metrics": metrics, "weighted_metrics": weighted_metrics}
        super().compile(
            optimizer,
            loss=loss,
            loss_weights=None if loss is None else {name: weights[name] for name in loss},
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
            **{
                what: metrics_by_task(what, chosen, self.labelled) or None
                for what, chosen in given.items()
            },
        )
        self.loss_weights = weights
        # Within a function Keras does not take the user's metrics for the model's own.
        given["loss_weights"] = loss_weights
        self._serialize_given = functools.partial(keras.saving.serialize_keras_object, given)

    def get_compile_config(self):
        """What `compile` was given, as plain data."""
        config = super().get_compile_config()
        return {**config, **self._serialize_given()} if config else config

    def compile_from_config(self, config):
        """Compile as `get_compile_config` says."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    # === Losses and metrics, as Keras' steps ask for them ===

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of the tasks' losses and of what layers add; see the class."""
        y, sample_weight = self._data.labels(y), self._data.weights(sample_weight)
        if self._compile_loss is not None:
            chosen = [task for task in self.labelled if task.name in self.loss]
            parts = {task.name: for_keras(task, y, y_pred, sample_weight) for task in chosen}
            three = [{name: part[i] for name, part in parts.items()} for i in range(3)]
            return super().compute_loss(x, *three, training)
        losses = []
        for i, task in enumerate(self.labelled):
            log_variance = None if self.log_variances is None else self.log_variances[i]
            weight = sample_weight[task.name]
            loss = task_loss(task, y[task.name], y_pred[task.name], weight, log_variance)
            losses.append(self.loss_weights[task.name] * task.weight * loss)
        total = tf.add_n(
            [tf.add_n(losses), *(tf.reduce_sum(tf.cast(x, tf.float32)) for x in self.losses)]
        )
        # As Keras scales all of its losses: each replica of a strategy gives its share.
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The tasks' metrics by name, and those of `compile`."""
        y, weights = self._data.labels(y), self._data.weights(sample_weight)
        y_pred = {name: y_pred[name] for name in y}
        for name in y:
            for metric in self.task_metrics[name]:
                metric.update_state(y[name], y_pred[name], weights[name])
        weights = None if sample_weight is None else weights
        return super().compute_metrics(x, y, y_pred, weights)

    def task_weights(self):
        """What each task's loss is multiplied by at present: `dict` of `float`."""
        weights = {task.name: task.weight * self.loss_weights[task.name] for task in self.labelled}
        if self.log_variances is not None:
            values = np.exp(-self.log_variances.numpy())
            for task, value in zip(self.labelled, values, strict=True):
                weights[task.name] *= task.uncertainty_scale * float(value)
        return weights

    def undefined_metrics(self):
        """Metrics without a value after the last evaluation: `dict` of reason by name."""
        found = {
            metric.name: metric.undefined()
            for metrics in self.task_metrics.values()
            for metric in metrics
        }
        return {name: reason for name, reason in found.items() if reason}

    # === What users call ===

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """As Keras' own, of a table and its labels, or of batches of such pairs.

        Args:
            x: `dict` of columns, a frame of pandas, or batches `(x, y)` or `(x, y, sample_weight)`:
                a `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator or another iterable.
            y: `dict` or frame of labels by task; those of a single task on their own.
            batch_size: `int`.
            epochs: `int`.
            verbose: See Keras.
            callbacks: list of Keras callbacks.
            validation_split: `float`, share of the rows of a table to validate on.
            validation_data: `(x, y)` or `(x, y, sample_weight)`, or batches.
            shuffle: `bool`, whether rows of a table, or batches of a `PyDataset`, are shuffled.
            class_weight: `dict` of weight by class, of a single task.
            sample_weight: weights of the rows, or `dict` or frame of these by task, 1 for others.
            **kwargs: `initial_epoch`, `steps_per_epoch`, `validation_steps`,
                `validation_batch_size`, `validation_freq`.

        Warns:
            UserWarning: labels of a regression far from 0 or of another scale than 1; see
                `RegressionTask`.
        """
        if isinstance(validation_data, tuple | list):
            validation_data = self._data.read(*validation_data)
        elif validation_data is not None:
            validation_data = self._data.read(validation_data)[0]
        once = is_batches(x) and not isinstance(x, keras.utils.PyDataset)
        x, y, sample_weight = self._data.read(x, y, sample_weight, class_weight)
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=LabelScale(self).beside(callbacks),
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle and not once,  # Keras warns that it leaves the order as it is
            sample_weight=sample_weight,
            **kwargs,
        )

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        **kwargs,
    ):
        """As Keras' own; a metric that is undefined is left out of the `dict`, and said.

        Args:
            x: As in `fit`, as are `y` and `sample_weight`.
            y: See there.
            batch_size: `int`.
            verbose: See Keras.
            sample_weight: See there.
            steps: `int`, batches to read.
            callbacks: list of Keras callbacks.
            return_dict: `bool`, whether to return a `dict` in place of a list.
            **kwargs: Keras' own, for the validation within `fit`.

        Warns:
            UserWarning: a task none of whose rows has a label, or an AUC of one class only.
        """
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y, sample_weight = self._data.read(x, y, sample_weight)
        logs = super().evaluate(
            x,
            y,
            batch_size=batch_size,
            verbose=verbose,
            sample_weight=sample_weight,
            steps=steps,
            callbacks=callbacks,
            return_dict=True,
            **kwargs,
        )
        undefined = self.undefined_metrics()
        if undefined:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in undefined.items())
            warnings.warn(
                "Expected labels from which every metric can be computed. Received, of all rows "
                f"together: {reasons}. These are left out of the dict that return_dict=True gives.",
                stacklevel=2,
            )
        if return_dict:
            return {name: value for name, value in logs.items() if name not in undefined}
        return self._flatten_metrics_in_order(logs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """As Keras' own: a `dict` of arrays by task.

        Args:
            x: As in `fit`; labels within batches are left out.
            batch_size: `int`.
            verbose: See Keras.
            steps: `int`, batches to read.
            callbacks: list of Keras callbacks.
        """
        x, _, _ = self._data.read(x, labelled=False)
        return super().predict(x, batch_size, verbose, steps, callbacks)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """As Keras' own, of one table and its labels."""
        parts = self._data.read(x, y, sample_weight, class_weight)
        return super().train_on_batch(*parts, return_dict=return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """As Keras' own, of one table and its labels."""
        return super().test_on_batch(*self._data.read(x, y, sample_weight), return_dict=return_dict)

    def predict_on_batch(self, x):
        """As Keras' own, of one table."""
        return super().predict_on_batch(self._data.read(x, labelled=False)[0])

    # === Export ===

    @property
    def raw_features(self):
        """The features that the model encodes itself, by name."""
        return {}

    def endpoints(self):
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

        def serve(columns):
            """Return what each task predicts of a table of columns: `dict` by task."""
            return self(columns)

        return {"serve": endpoint(self, serve, self.input_specs())}

    def call_signature(self):
        return [self.input_specs()]

    def portable_form(self, runtime):
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

        def answer(*columns):
            outputs = self(dict(zip(specs, columns, strict=True)))
            return [tf.identity(outputs[name]) for name in names]

        numbers = [0.0, 1.0, np.nan if self.raw_features else -0.5]  # a raw number may be missing
        probe = {}
        for name, spec in specs.items():
            shape = [PROBE_ROWS] + [2] * (spec.shape.rank - 1)
            values = np.resize(numbers, shape) if spec.dtype.is_floating else np.ones(shape)
            probe[name] = values.astype(spec.dtype.as_numpy_dtype)
        return PortableForm(specs, names, answer, probe)
