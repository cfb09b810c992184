"""The Keras callback that writes, judges and logs what the routers of a model do."""

import os
import warnings
from typing import Any

import keras
import numpy as np

from moe_zoo.analysis.verdict import RoutingBounds
from moe_zoo.layers import MoE, TaskMixing
from moe_zoo.processes import process_count
from moe_zoo.stats import EPOCH, TRAINING, RoutingMetric, RoutingStats, name_metrics
from moe_zoo.validation import check_int, shown

from .event_writers import EventWriters
from .examples import ExampleRouting, RoutedExamples
from .health import HealthJudge
from .summaries import RoutedLayer, write_examples, write_pairs, write_stats

Logs = dict[str, Any] | None


class RoutingCallback(keras.callbacks.Callback):
    """Write what the routers of a model do for TensorBoard, warn, and log the task loss.

    Every `every` training batches and at the end of each epoch the callback writes what happened
    since the last write: the scalars `dropped_fraction`, `load_cv`, `entropy`, `dead_experts` and
    each auxiliary loss, a histogram of the load with one bucket per expert, and, for the tab "MoE
    Routing", the load, demand, importance and mean gate of each expert, before and after capacity.
    The gates of a layer for several tasks, such as `MMoE`, are written for each task, with
    `importance_cv` in place of `dropped_fraction` and `load_cv`. At the end of an epoch it also
    writes, for layers with several choices, which experts are chosen together, and the experts of
    the `examples`' tokens; the latter after the first batch too. At the end of an evaluation it
    writes the same for that evaluation, without losses and examples. The step is
    `model.optimizer.iterations`, so a resumed run continues its curves. `routing_stats` is not
    changed.

    Dead experts, an uneven load or many drops that last are reported with what to try: once in
    `fit`'s output and in the log `moe_zoo` of Python's `logging`, and in the tab as long as they
    last. A problem that has not lasted yet is shown as "watching" in the tab, and reported if
    training ends with it. Gates of several tasks are not judged.

    The callback also adds `task_loss = loss - auxiliary losses` to the logs of training. `loss` is
    a mean over examples and the auxiliary losses are means over calls of the layer, so the
    difference is exact if all batches have one size and a layer is called once a step. Callbacks
    see it if they come after this one in the list; the progress bar and the history always do. In
    an evaluation `loss` holds no auxiliary loss.

    Event files go to the folders `train` and `validation` of `log_dir`. Give
    `keras.callbacks.TensorBoard` the same `log_dir`, and TensorBoard shows both as one run. To
    watch such a run live where TensorBoard's fast loader is missing (Windows), start it with
    `--reload_multifile=true`.

    Args:
        log_dir: Path of the log folder, or `None` to write nothing; the callback still warns and
            adds `task_loss`.
        every: Training batches between two writes.
        examples: Inputs whose routing is written. They run as in evaluation, which takes the time
            of a small batch.
        bounds: When to warn, or `None` for never.

    Raises:
        ValueError: If `every` is below 1 or a bound makes no sense; when training or evaluation
            starts, if the model has no MoE layers, or there are examples and several processes
            share a mesh; after a batch, if the model does not call its MoE layers, or an example
            has more or fewer tokens than a layer routes.
        OSError: If `log_dir` cannot be written, when training starts.

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

    def __init__(
        self,
        log_dir: str | os.PathLike | None = None,
        every: int = 100,
        examples: RoutedExamples | None = None,
        bounds: RoutingBounds | None = RoutingBounds(),  # noqa: B008  (it cannot be changed)
    ):
        super().__init__()
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.every = check_int("every", every, least=1)
        self.examples = examples
        self.bounds = None if bounds is None else bounds.check()
        self._judge = HealthJudge(self.bounds)
        self._metrics: dict[str, RoutingMetric] = {}
        self._before: dict[str, np.ndarray] = {}
        self._before_epoch: dict[str, np.ndarray] = {}
        self._writers = EventWriters(self.log_dir or "")
        self._example_routing: ExampleRouting | None = None
        self._written_step: int | None = None
        self._in_fit = False

    def on_train_begin(self, logs: Logs = None) -> None:
        if self.examples is not None and process_count() > 1:
            raise ValueError(
                f"Expected examples in one process. Received: {process_count()} processes, whose "
                "models run only together. Leave the examples out."
            )
        self._find_layers(started=False)
        self._in_fit, self._started = True, False
        self._example_routing = None
        self._judge.start()
        self._before = self._before_epoch = self._read(TRAINING)
        self._unwritten, self._last_batch = 0, -1
        self._last_step, self._written_step = self._step(), None
        if self.log_dir is not None:
            self._writers.open("train")  # an unwritable folder fails now, not after an epoch

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._last_batch = -1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if not self._started:
            self._start()
        self._add_task_loss(logs)
        self._unwritten += batch - self._last_batch  # several with steps_per_execution
        self._last_batch = batch
        if self._unwritten >= self.every:
            self._write_training()

    def _start(self) -> None:
        """Check what shows only after a batch: all layers are built, and mistakes cost little."""
        self._started = True
        self._find_layers(started=True)
        stepped = [
            np.any(sums != self._before.get(layer, 0.0))
            for layer, sums in self._read(TRAINING).items()
        ]
        if not any(stepped):
            warnings.warn(
                f"Expected layers that are called with training=True. Received: {self._names()}, "
                "none of which counted anything in the first batch. Give the model's `call` an "
                "argument `training` and hand it on.",
                stacklevel=2,
            )
        if self.log_dir is not None and self.examples is not None:
            with self._writers.writing("train"):
                self._write_examples(self.examples)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._add_task_loss(logs)
        if self._unwritten:
            self._write_training()
        if self.log_dir is not None:
            self._write_epoch()

    def on_train_end(self, logs: Logs = None) -> None:
        self._in_fit = False
        self._judge.finish()
        self._writers.close()

    def on_test_begin(self, logs: Logs = None) -> None:
        self._find_layers(started=False)
        self._before_test: dict[str, np.ndarray] | None = None

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._before_test is None:  # what a model with `metrics` of its own does not reset
            self._before_test = self._read(EPOCH)

    def on_test_end(self, logs: Logs = None) -> None:
        if not self._metrics:
            self._find_layers(started=True)
        if self.log_dir is not None:
            self._write_evaluation()
        if not self._in_fit:
            self._writers.close()

    def _find_layers(self, started: bool) -> None:
        """Find the metrics of the layers, which Keras may build as late as in the first batch."""
        self._metrics = name_metrics(self.model)
        if self._metrics or not (started or self.model.built):
            return
        unbuilt = [
            layer.name
            for layer in self.model._flatten_layers()
            if isinstance(layer, MoE) or (isinstance(layer, TaskMixing) and layer.has_gates)
        ]
        if not unbuilt:
            raise ValueError(
                f"Expected a model with an MoE layer. Received: model={shown(self.model.name)}, "
                "which has none. Leave RoutingCallback out for a dense model."
            )
        if started:
            raise ValueError(
                f"Expected MoE layers that the model calls. Received: layers={unbuilt}, none of "
                "them built after a batch. Call them in the model's `call`."
            )

    def _add_task_loss(self, logs: Logs) -> None:
        if logs and "loss" in logs:
            metrics = self._metrics.values()
            names = (f"{m.log_name}_{loss}" for m in metrics for loss in m.loss_names)
            logs["task_loss"] = logs["loss"] - sum(logs.get(name, 0.0) for name in names)

    def _read(self, row: int) -> dict[str, np.ndarray]:
        return {layer: metric.sums(row) for layer, metric in self._metrics.items()}

    def _names(self) -> list[str]:
        return [metric.layer_name for metric in self._metrics.values()]

    def _step(self) -> int:
        iterations = getattr(self.model.optimizer, "iterations", 0)
        return int(keras.ops.convert_to_numpy(iterations))

    def _write_training(self) -> None:
        now, step = self._read(TRAINING), self._step()
        if step == self._written_step:  # gradients are accumulated: the window continues
            return
        window = {
            layer: self._metrics[layer].summarize(_since(sums, self._before.get(layer, 0.0)))
            for layer, sums in now.items()
        }
        health = {
            layer: self._judge.judge_training(
                layer, self._metrics[layer], stats, self._last_step, step
            )
            for layer, stats in window.items()
        }
        if self.log_dir is not None:
            with self._writers.writing("train"):
                for layer, stats in window.items():
                    if stats.steps:
                        write_stats(self._layer(layer), stats, health[layer], step, losses=True)
        self._unwritten, self._before = 0, now
        self._last_step = self._written_step = step

    def _write_epoch(self) -> None:
        """Write what is too large or too slow for every write."""
        now = self._read(TRAINING)
        with self._writers.writing("train"):
            for layer, sums in now.items():
                window = _since(sums, self._before_epoch.get(layer, 0.0))
                self._write_pairs(layer, self._metrics[layer].summarize(window))
            if self.examples is not None:
                self._write_examples(self.examples)
        self._before_epoch = now

    def _write_evaluation(self) -> None:
        with self._writers.writing("validation"):
            before = self._before_test or {}
            for layer, sums in self._read(EPOCH).items():
                metric = self._metrics[layer]
                stats = metric.summarize(_since(sums, before.get(layer, 0.0)))
                if not stats.steps:
                    continue
                health = self._judge.judge_evaluation(metric, stats)
                write_stats(self._layer(layer), stats, health, self._step(), losses=False)
                self._write_pairs(layer, stats)

    def _write_pairs(self, layer: str, stats: RoutingStats) -> None:
        if stats.steps and stats.pairs is not None:
            write_pairs(self._layer(layer), stats.pairs, self._step())

    def _write_examples(self, examples: RoutedExamples) -> None:
        if self._example_routing is None:
            self._example_routing = ExampleRouting(self.model, examples)
        for layer, routed in self._example_routing.read(self._metrics).items():
            write_examples(self._layer(layer), routed, self._step())

    def _layer(self, name: str) -> RoutedLayer:
        metric = self._metrics[name]
        place = list(self._metrics).index(name)
        return RoutedLayer(name, place, metric.scalars, metric.group, metric.task)


def _since(sums: np.ndarray, before: Any) -> np.ndarray:
    """Return what came after a reading. A sum that has fallen means a reset in between."""
    return sums - before if np.all(sums >= before) else sums
