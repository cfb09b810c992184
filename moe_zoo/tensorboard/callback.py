"""A Keras callback that shows what the routers of a model do."""

import os
import warnings

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.layers import MoE, TaskMixing
from moe_zoo.stats import EPOCH, TRAINING, RoutingMetric, routing_metrics
from moe_zoo.tensorboard.summaries import write_stats
from moe_zoo.validation import check_int


class RoutingCallback(keras.callbacks.Callback):
    """Writes the load, drops, entropy and losses of MoE layers for TensorBoard, logs the task loss.

    Every `every` training batches and at the end of each epoch it writes what happened since the
    last write: the scalars `dropped_fraction`, `load_cv`, `entropy`, `dead_experts` and each
    auxiliary loss, a histogram of the load with one bucket per expert, and the vectors `load`,
    `demand` and `importance`, `<float32>[E]`. The gates of a layer for several tasks, such as
    `MMoE`, are written for each task, with `importance_cv` in place of `dropped_fraction` and
    `load_cv`. At the end of an evaluation it writes the same, less
    the losses, for that evaluation. The step is `model.optimizer.iterations`, so a resumed run goes
    on where it was. What `routing_stats` shows stays as it is.

    It also adds `task_loss = loss - auxiliary losses` to the logs of training. `loss` is a mean
    over examples and the auxiliary losses are means over calls of the layer, so the difference is
    exact where all batches have one size and a layer is called once a step. Callbacks see it if
    they come after this one in the list; the progress bar and the history always do. In an
    evaluation `loss` holds no auxiliary loss.

    Event files go to the folders `train` and `validation` of `log_dir`. Give
    `keras.callbacks.TensorBoard` the same `log_dir`, and TensorBoard shows both as one run. To
    watch such a run live where TensorBoard's fast loader is missing (Windows), start it with
    `--reload_multifile=true`.

    Args:
        log_dir: path of the log folder, or `None` to write nothing and only add `task_loss`.
        every: `int`, training batches between two writes.

    Raises:
        ValueError: `every` below 1; when training or evaluation starts, a model without MoE layers;
            after a batch, a model that does not call those that it has.
        OSError: a `log_dir` that cannot be written, when training starts.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import SwitchRouter
    >>> mixture = MoE(SwitchRouter(), FeedForwardExperts(num_experts=4, hidden_dim=8))
    >>> model = keras.Sequential([mixture, keras.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> x = keras.random.normal((64, 3))
    >>> history = model.fit(x, x[:, :1], callbacks=[RoutingCallback("logs")], verbose=0)
    >>> "task_loss" in history.history
    True
    """

    def __init__(self, log_dir: str | os.PathLike | None = None, every: int = 100):
        super().__init__()
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.every = check_int("every", every, least=1)
        self._metrics: dict[str, RoutingMetric] = {}
        self._before: dict[str, np.ndarray] = {}
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        self._in_fit = False

    def on_train_begin(self, logs=None):
        self._find_layers(started=False)
        self._in_fit = True
        self._before = self._read(TRAINING)
        self._unwritten, self._last_batch = 0, -1
        if self.log_dir is not None:
            self._writer("train")  # an unwritable folder fails now, not after an epoch

    def on_epoch_begin(self, epoch, logs=None):
        self._last_batch = -1

    def on_train_batch_end(self, batch, logs=None):
        if not self._metrics:
            self._find_layers(started=True)
        self._add_task_loss(logs)
        self._unwritten += batch - self._last_batch  # several with steps_per_execution
        self._last_batch = batch
        if self._unwritten >= self.every:
            self._write_training()

    def on_epoch_end(self, epoch, logs=None):
        self._add_task_loss(logs)
        if self._unwritten:
            self._write_training()

    def on_train_end(self, logs=None):
        self._in_fit = False
        self._close()

    def on_test_begin(self, logs=None):
        self._find_layers(started=False)

    def on_test_end(self, logs=None):
        if not self._metrics:
            self._find_layers(started=True)
        self._write("validation", self._read(EPOCH), losses=False)  # Keras reset it at the start
        if not self._in_fit:
            self._close()

    def _find_layers(self, started):
        """Find the metrics of the layers, which Keras may build as late as in the first batch."""
        self._metrics = routing_metrics(self.model)
        names = [metric.layer_name for metric in self._metrics.values()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            warnings.warn(
                f"Expected layers with names of their own. Received: several named {twice}. In the "
                "logs of fit the last one stands for all, task_loss is wrong, and only these files "
                "show each.",
                stacklevel=2,
            )
        if self._metrics or not (started or self.model.built):
            return
        unbuilt = [
            layer.name
            for layer in self.model._flatten_layers()
            if isinstance(layer, MoE) or (isinstance(layer, TaskMixing) and layer.has_gates)
        ]
        if not unbuilt:
            raise ValueError(
                f"Expected a model with an MoE layer. Received: model={self.model.name!r}, which "
                "has none. Leave RoutingCallback out for a dense model."
            )
        if started:
            raise ValueError(
                f"Expected MoE layers that the model calls. Received: layers={unbuilt}, none of "
                "them built after a batch. Call them in the model's `call`."
            )

    def _add_task_loss(self, logs):
        if logs and "loss" in logs:
            names = (
                f"{layer}_{loss}" for layer, m in self._metrics.items() for loss in m.loss_names
            )
            logs["task_loss"] = logs["loss"] - sum(logs.get(name, 0.0) for name in names)

    def _read(self, row):
        return {layer: metric.sums(row) for layer, metric in self._metrics.items()}

    def _write_training(self):
        self._unwritten = 0
        if self.log_dir is None:
            return
        now = self._read(TRAINING)
        window = {layer: self._since(layer, sums) for layer, sums in now.items()}
        self._write("train", window, losses=True)
        self._before = now

    def _since(self, layer, sums):
        """What came after the last write. A sum that has fallen tells of a reset in between."""
        before = self._before.get(layer, 0.0)
        return sums - before if np.all(sums >= before) else sums

    def _write(self, folder, sums, losses):
        if self.log_dir is None:
            return
        writer = self._writer(folder)
        step = int(getattr(self.model.optimizer, "iterations", 0))
        # Keras' TensorBoard callback leaves a filter of its own in force between batches.
        with writer.as_default(), tf.summary.record_if(True):
            for layer, layer_sums in sums.items():
                metric = self._metrics[layer]
                stats = metric.summarise(layer_sums)
                if stats.steps:
                    write_stats(layer, stats, metric.scalars, step, losses)
        writer.flush()

    def _writer(self, folder):
        if folder not in self._writers:
            try:
                self._writers[folder] = tf.summary.create_file_writer(f"{self.log_dir}/{folder}")
            except tf.errors.OpError as error:
                raise OSError(
                    f"Expected a folder that can be written. Received: log_dir={self.log_dir!r}: "
                    f"{error.message} Give a folder of your own, or None to write nothing."
                ) from error
        return self._writers[folder]

    def _close(self):
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
