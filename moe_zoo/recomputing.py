"""Recomputing activations: a layer computes them again for its gradient, and does not keep them."""

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import variables as keras_variables

from moe_zoo.validation import shown

# TensorFlow does not tell what runs in it that it is recomputed: its two functions are looked for
# among those that are running.
_FILE = tf.recompute_grad.__code__.co_filename
_FUNCTIONS = ("inner", "inner_recompute_grad")  # for the outputs, and for the gradients
OURS, TENSORFLOW = "ours", "TensorFlow"


def recompute(layer: keras.layers.Layer) -> Callable[..., Any]:
    """Return a function that calls the layer and recomputes its activations for the gradient.

    In place of `tf.recompute_grad(layer)`, under which the losses that layers add have no gradient,
    what they count is counted twice, noise is drawn anew, and in a graph a weight may be updated
    before it is read again. Here the layer runs as a function of its inputs, its weights and its
    state: losses are outputs of it, weights are read once, both runs start from the same state,
    seeds included, and the state moves on once. A weight that the call does not use has a gradient
    of zeros in place of `None`.

    Args:
        layer: a Keras layer or model that is built.

    Returns:
        A function of the layer's arguments that returns its outputs.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import SwitchRouter
    >>> layer = MoE(SwitchRouter(balance_loss_weight=1.0), FeedForwardExperts(4, 32))
    >>> layer.build((None, 8))
    >>> with tf.GradientTape() as tape:
    ...     outputs = recompute(layer)(tf.ones([5, 8]), training=True)
    ...     loss = sum(layer.losses)
    >>> tape.gradient(loss, layer.router.kernel.value).shape
    TensorShape([8, 4])
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return _recomputed(layer, layer, args, kwargs)

    return call


class Recomputable(keras.layers.Layer):
    """A layer that `keras.RematScope` recomputes as `recompute` does."""

    def rematerialized_call(
        self, layer_call: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Callable[..., Any]:
        """Return the function that Keras calls in place of `call`."""
        chosen = super().rematerialized_call(layer_call, *args, **kwargs)
        if chosen is layer_call or self._remat_mode.mode == "activations":
            return chosen
        if _recomputed_by() == OURS:  # with the layer that holds this one
            return layer_call
        return lambda *args, **kwargs: _recomputed(self, layer_call, args, kwargs)


class RecomputedPart(keras.layers.Layer):
    """A layer that is recomputed with the one that holds it, and not by itself: it keeps little."""

    def rematerialized_call(
        self, layer_call: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Callable[..., Any]:
        """Return the function that Keras calls in place of `call`."""
        return layer_call


def refuse_recomputing(layer: keras.layers.Layer) -> None:
    """Refuse to run within a `tf.recompute_grad` other than that of `recompute`.

    Args:
        layer: the Keras layer that adds losses, counts, or draws noise.

    Raises:
        ValueError: If TensorFlow recomputes the layer.
    """
    if _recomputed_by() == TENSORFLOW:
        raise ValueError(
            "Expected a layer that runs once for each step: within tf.recompute_grad its losses "
            "would have no gradient, its statistics would count twice, and its noise would be "
            f"drawn anew. Received: layer={shown(layer.path)} within tf.recompute_grad or "
            "keras.remat. Use moe_zoo.recompute(layer) in its place, on this layer or the one "
            "around it, or make this layer alone within keras.RematScope."
        )


def _recomputed_by() -> str | None:
    """Whose recomputation the caller runs in, the innermost one's; `None` if in none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code is _run.__code__:
            return OURS
        if code.co_name in _FUNCTIONS and code.co_filename == _FILE:
            return TENSORFLOW
        frame = frame.f_back
    return None


def _run(
    call: Callable[..., Any], arguments: tuple, values: list, precision: str | None
) -> tuple[Any, keras.StatelessScope]:
    """What `call` returns from given values of its variables, and the scope that it ran in.

    The scope has the losses and the new values.

    Args:
        call: function.
        arguments: `(args, kwargs)` of it.
        values: list of `(variable, tensor)`.
        precision: `str` or `None`, the dtype that Keras casts weights to when they are read. The
            second run is outside of the calls of the enclosing layers, which set it.
    """
    args, kwargs = arguments
    with keras_variables.AutocastScope(None):  # else Keras rounds the values
        scope = keras.StatelessScope(values, collect_losses=True)
    with scope, keras_variables.AutocastScope(precision):
        return call(*args, **kwargs), scope


def _values(variables: Iterable[keras.Variable]) -> list:
    """List of `(variable, tensor)`, each read once and in full precision."""
    with keras_variables.AutocastScope(None):
        return [(x, tf.convert_to_tensor(x)) for x in {id(x): x for x in variables}.values()]


@tf.custom_gradient
def _with_gradient_of(tensor: tf.Tensor, other: tf.Tensor) -> Any:
    """`tensor`, with its gradient sent to `other`.

    In a graph TensorFlow adds a zero to every argument of the second run, so that it waits for the
    gradient. A weight that came through the arguments would be copied by that addition.
    """
    return tf.identity(tensor), lambda upstream: (None, upstream)


def _recomputed(
    layer: keras.layers.Layer, call: Callable[..., Any], args: tuple, kwargs: dict
) -> Any:
    """What `call` returns; losses are added to the layer and its state moves on, both once."""
    refuse_recomputing(layer)
    flat = keras.tree.flatten((args, kwargs))
    places = [i for i, x in enumerate(flat) if tf.is_tensor(x) and x.dtype.is_floating]
    # Weights are read here, once for both runs: when TensorFlow optimizes a graph, it can lose the
    # order of a read in the second run and the optimizer's update, which may then come first.
    weights = _values(layer.trainable_variables)
    state = _values([*layer.non_trainable_variables, *layer.metrics_variables])
    precision = getattr(keras_variables.get_autocast_scope(), "dtype", None)
    scopes = []

    @tf.recompute_grad
    @tf.autograph.experimental.do_not_convert
    def function(inputs: list, others: list) -> Any:
        by_place = dict(zip(places, inputs, strict=True))
        given = [by_place.get(i, x) for i, x in enumerate(flat)]
        arguments = keras.tree.pack_sequence_as((args, kwargs), given)
        of_weights = [
            (weight, _with_gradient_of(value, other))
            for (weight, value), other in zip(weights, others, strict=True)
        ]
        outputs, scope = _run(call, arguments, [*state, *of_weights], precision)
        scopes.append(scope)
        return outputs, scope.losses

    outputs, losses = function([flat[i] for i in places], [value for _, value in weights])
    for variable, before in state:
        after = scopes[0].get_current_value(variable)
        if after is not before:
            variable.assign(after)
    for loss in losses:
        layer.add_loss(loss)
    return outputs
