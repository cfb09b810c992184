"""Statistics of routing: load, importance, dropped fraction, entropy, dead experts."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state

from moe_zoo.plans import Plan
from moe_zoo.scopes import is_counting

EPOCH, TRAINING, EVALUATION = range(3)
SCALARS = ("dropped_fraction", "load_cv", "entropy", "dead_experts")
MOST_PAIRED = 256  # experts: beyond, the matrix of pairs would cost more than it shows


class RoutingStats(NamedTuple):
    """What the router of one layer did since the last reset.

    Fields:
        load: `<float64>[E]`, choices that each expert computed.
        demand: `<float64>[E]`, choices that asked for each expert, dropped ones included.
        importance: `<float64>[E]`, sum of each expert's gates, before any drop.
        dropped_fraction: `float`, choices without a slot over all choices.
        load_cv: `float`, coefficient of variation of the load; 0 when it is balanced.
        importance_cv: `float`, the same of the importance.
        entropy: `float`, mean entropy of the router's probabilities, in nats; log E when it is
            uniform.
        dead_experts: `list` of `int`, experts that computed nothing.
        tokens: `int`, tokens routed, masked ones not counted.
        steps: `int`, calls of the layer.
        losses: `dict` of `float`, mean weighted auxiliary loss of a step, by name.
        pairs: `<float64>[E, E]`, tokens that asked for both experts, 0 on the diagonal; `None`
            where a token has one choice or all experts, or there are more than 256 experts.
    """

    load: np.ndarray
    demand: np.ndarray
    importance: np.ndarray
    dropped_fraction: float
    load_cv: float
    importance_cv: float
    entropy: float
    dead_experts: list[int]
    tokens: int
    steps: int
    losses: dict[str, float]
    pairs: np.ndarray | None

    @property
    def gate_mean(self) -> np.ndarray:
        """`<float64>[E]`, mean gate of the choices that asked for each expert; 0 without any."""
        return self.importance / np.maximum(self.demand, 1.0)


class RoutingMetric(keras.metrics.Metric):
    """Adds up in the graph what a layer's router did, and shows scalars in the logs of `fit`.

    All sums stand in one variable `<float64>[3, 3 E + 3 + L]` (and `E * E` more for pairs) with a
    row for the current epoch (which Keras resets), one for training and one for evaluation (which
    only `routing_stats` resets), so that evaluation does not disturb training's. Sums of weeks stay
    exact in float64.

    Args:
        name: `str`, the layer's name, with which every scalar's begins unless `name_metrics` finds
            that another layer of the model has it too.
        num_experts: `int`, E.
        loss_names: the L names of auxiliary losses that the router may report.
        scalars: names of the numbers of `RoutingStats` to show.
        paired: `bool`, count which experts a token asks for at once.
        group: name of the layer that mixes for several tasks; `None` for other layers.
        task: name of the task in it.
    """

    def __init__(
        self,
        name: str,
        num_experts: int,
        loss_names: Iterable[str],
        scalars: Iterable[str] = SCALARS,
        paired: bool = False,
        group: str | None = None,
        task: str | None = None,
    ):
        super().__init__(dtype="float32")
        self.layer_name = name
        self.set_log_name(name)
        self.num_experts = num_experts
        self.loss_names = tuple(loss_names)
        self.scalars = tuple(scalars)
        self.paired = paired and num_experts <= MOST_PAIRED
        self.group, self.task = group, task
        self.in_training = False
        self.totals = keras.Variable(
            "zeros",
            shape=(
                3,
                3 * num_experts + 3 + len(self.loss_names) + self.paired * num_experts**2,
            ),
            dtype="float64",
            trainable=False,
            autocast=False,  # else a layer in half precision would add up in half precision
            aggregation="sum",
            synchronization="on_read",
            name="totals",
        )

    def set_log_name(self, name: str) -> None:
        """Set what every scalar in the logs begins with, where another layer has the name.

        Args:
            name: `str`.
        """
        self.log_name, self.name = name, f"{name}_routing"

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Change nothing: layers count by `count`.

        A custom `train_step` gives labels and predictions to every metric of a model, and neither
        of them says what a router did.
        """

    def count(self, plan: Plan, training: bool) -> None:
        """Add what a plan did, unless the plan is only recorded.

        Args:
            plan: a plan.
            training: `bool`.
        """
        if not is_counting():
            return
        self.in_training = training
        mask = plan.token_mask()
        entropy = -tf.reduce_sum(tf.math.xlogy(plan.probabilities, plan.probabilities), -1)
        entropy = tf.where(mask, entropy, 0.0)
        tokens = tf.reduce_sum(tf.cast(mask, tf.float32))
        scalars = [tf.reduce_sum(entropy), tokens, tf.constant(1.0)]
        scalars += [plan.losses.get(name, tf.constant(0.0)) for name in self.loss_names]
        row = [plan.load(), plan.demand(), plan.importance(), tf.stack(scalars)]
        if self.paired:
            row.append(tf.reshape(plan.pairs(), [-1]))
        row = tf.concat(row, 0)
        rows = tf.constant([[1.0], [float(training)], [float(not training)]])
        self.totals.assign_add(tf.cast(tf.stop_gradient(rows * row), tf.float64))

    def reset_state(self) -> None:
        """Reset the epoch's sums, as Keras asks for when an epoch or an evaluation begins."""
        self.reset(EPOCH)

    def reset(self, row: int) -> None:
        """Reset one row of sums.

        Args:
            row: `EPOCH`, `TRAINING` or `EVALUATION`.
        """
        totals = self.totals.numpy()
        totals[row] = 0.0
        self.totals.assign(totals)

    def result(self) -> dict[str, tf.Tensor]:
        """Return the epoch's scalars by name, in training with the losses."""
        load, demand, importance, entropy, tokens, steps, *losses = self._split(
            tf.cast(self.totals[EPOCH], tf.float32)
        )
        scalars = {
            "dropped_fraction": tf.math.divide_no_nan(
                tf.reduce_sum(demand - load), tf.reduce_sum(demand)
            ),
            "load_cv": _variation(load),
            "importance_cv": _variation(importance),
            "entropy": tf.math.divide_no_nan(entropy, tokens),
            "dead_experts": tf.reduce_sum(tf.cast(load == 0, tf.float32)),
        }
        scalars = {name: scalars[name] for name in self.scalars}
        if self.in_training:
            for name, loss in zip(self.loss_names, losses, strict=True):
                scalars[name] = tf.math.divide_no_nan(loss, steps)
        return {f"{self.log_name}_{name}": value for name, value in scalars.items()}

    def sums(self, row: int) -> np.ndarray:
        """Return one row's sums, a vector `<float64>`.

        Args:
            row: `EPOCH`, `TRAINING` or `EVALUATION`.
        """
        return self.totals.numpy()[row]

    def summarize(self, sums: np.ndarray) -> RoutingStats:
        """Return sums, or the difference of two readings of them, as `RoutingStats`.

        Args:
            sums: a vector of `sums`.
        """
        load, demand, importance, entropy, tokens, steps, *losses = self._split(sums)
        return RoutingStats(
            load=load,
            demand=demand,
            importance=importance,
            dropped_fraction=float((demand - load).sum() / max(demand.sum(), 1.0)),
            load_cv=float(load.std() / load.mean()) if load.any() else 0.0,
            importance_cv=float(importance.std() / importance.mean()) if importance.any() else 0.0,
            entropy=float(entropy / max(tokens, 1.0)),
            dead_experts=np.flatnonzero(load == 0).tolist(),
            tokens=int(tokens),
            steps=int(steps),
            losses={
                name: float(loss / max(steps, 1.0))
                for name, loss in zip(self.loss_names, losses, strict=True)
            },
            pairs=self._pairs(sums) if self.paired else None,
        )

    def _split(self, row: Any) -> tuple:
        size = self.num_experts
        vectors = row[:size], row[size : 2 * size], row[2 * size : 3 * size]
        return *vectors, *(row[3 * size + i] for i in range(3 + len(self.loss_names)))

    def _pairs(self, row: np.ndarray) -> np.ndarray:
        """Add both orders of the counts of ordered choices, which come last in a row."""
        ordered = row[-(self.num_experts**2) :].reshape(self.num_experts, self.num_experts)
        return ordered + ordered.T


def _variation(values: tf.Tensor) -> tf.Tensor:
    """The coefficient of variation, in the graph."""
    return tf.math.divide_no_nan(tf.math.reduce_std(values), tf.reduce_mean(values))


def routing_metrics(model: keras.layers.Layer) -> dict[str, RoutingMetric]:
    """Return the routing metrics of all layers by layer name, or by path if a name is taken.

    Where two layers have one path too, as in two models of one kind, `_1`, `_2` and so on follow.
    They come in the order in which the model holds its layers.
    """
    metrics: dict[str, RoutingMetric] = {}
    for layer in _layers_in_order(model):
        for metric in layer._metrics:
            if isinstance(metric, RoutingMetric):
                name, number = metric.layer_name, 0
                path = layer.path + name.removeprefix(layer.name)  # of a task, with its name
                if name in metrics:
                    name = path
                while name in metrics:
                    number += 1
                    name = f"{path}_{number}"
                metrics[name] = metric
    return metrics


def name_metrics(model: keras.layers.Layer) -> dict[str, RoutingMetric]:
    """Return `routing_metrics`, and let each log under that name in `fit`."""
    metrics = routing_metrics(model)
    for name, metric in metrics.items():
        if name != metric.layer_name:
            metric.set_log_name(name)
    return metrics


def count_plan(metric: RoutingMetric, plan: Plan, training: bool) -> None:
    """Count what a layer's plan did, from within the call of the layer.

    The model that runs is seen only here: a layer does not know what other layers are called.
    """
    context = global_state.get_global_attribute("current_call_ctx")
    if context is not None:
        name_metrics(context.entry_layer)
    metric.count(plan, training)


def _layers_in_order(model: keras.layers.Layer) -> Iterable[keras.layers.Layer]:
    """Return every layer once, in order; Keras' own walk alternates the order of nested layers."""
    seen, waiting = {}, [model]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in seen:
            seen[id(layer)] = layer
            waiting += reversed(layer._layers)
    return seen.values()


def routing_stats(
    model: keras.layers.Layer, training: bool = True, reset: bool = False
) -> dict[str, RoutingStats]:
    """Return what the routers and gates of a model did since the last reset, by layer and task.

    Args:
        model: a Keras model or layer that holds `MoE` layers, or mixtures for several tasks.
        training: `bool`, training's statistics, or those of `evaluate` and `predict`.
        reset: `bool`, start anew after reading.

    Returns:
        `dict` of `RoutingStats` by layer name; empty if there is no such layer.
    """
    row = TRAINING if training else EVALUATION
    stats = {}
    for name, metric in routing_metrics(model).items():
        stats[name] = metric.summarize(metric.sums(row))
        if reset:
            metric.reset(row)
    return stats
