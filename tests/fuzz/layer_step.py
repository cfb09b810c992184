"""One step of a layer, however it is run: what it gives, its gradients, losses and statistics."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

WAYS = ("eager", "graph", "xla", "saved")
ROUNDING = {"float32": 2e-5, "mixed_float16": 2e-2, "mixed_bfloat16": 1e-1}


class Results(NamedTuple):
    """What a layer and its reference are compared by."""

    outputs: Any
    gradients: list  # of the inputs and of the trainable weights in turn
    loss: float  # the sum of the layer's
    counts: dict  # the statistics, by name


def draw_step(rng) -> dict:
    """How a layer is run: precision, training or evaluation, and the way."""
    return {
        "policy": str(rng.choice(list(ROUNDING), p=[0.7, 0.15, 0.15])),
        "training": bool(rng.random() < 0.6),
        "way": str(rng.choice(WAYS, p=[0.75, 0.15, 0.03, 0.07])),
        "seed": int(rng.integers(2**31)),
    }


def upstream(case, shape):
    """The weights of the sum of the outputs that is differentiated."""
    return np.random.default_rng(case["seed"] + 1).normal(size=shape)


def set_weights(case, layer):
    """Give a layer random weights."""
    rng = np.random.default_rng(case["seed"])
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    return rng


def weights_of(layer) -> dict:
    """The trainable weights in float64, by their path below the layer."""
    return {
        weight.path.split("/", 1)[1]: weight.numpy().astype(np.float64)
        for weight in layer.trainable_weights
    }


def run(case, layer, inputs, counts, mask=None, loss_weight=0.0) -> Results:
    """One step; `counts` are the statistics of a layer, `loss_weight` differentiates losses too."""
    if case["way"] == "saved":
        weights = layer.get_weights()
        layer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        layer.set_weights(weights)
    x = tf.constant(inputs)
    weighed = tf.constant(upstream(case, layer.compute_output_shape(inputs.shape)), tf.float32)
    options = {} if mask is None else {"mask": tf.constant(mask)}

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=case["training"], **options)
            loss = tf.add_n([tf.constant(0.0), *layer.losses])
            total = tf.reduce_sum(tf.cast(outputs, tf.float32) * weighed) + loss_weight * loss
        sources = [x, *layer.trainable_weights]
        return outputs, zeros_for_none(tape.gradient(total, sources), sources), loss

    if case["way"] in ("graph", "xla"):
        known = case["way"] == "xla"
        signature = [tf.TensorSpec(x.shape if known else [None, *x.shape[1:]], x.dtype)]
        step = tf.function(step, input_signature=signature, jit_compile=known)
    outputs, gradients, loss = step(x)
    return Results(outputs, gradients, float(loss), counts(layer))


def drawn(case, function, *arguments):
    """What `tf.random.stateless_...` gives in the way of the case: XLA draws other numbers."""
    if case["way"] == "xla":
        return np.float64(tf.function(lambda: function(*arguments), jit_compile=True)())
    return np.float64(function(*arguments))


def zeros_for_none(gradients, sources):
    """The gradients, zeros where there is none."""
    zeros = [tf.zeros_like(tf.convert_to_tensor(source)) for source in sources]
    return [z if g is None else g for g, z in zip(gradients, zeros, strict=True)]
