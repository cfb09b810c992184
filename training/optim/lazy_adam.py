"""Adam that updates only the rows of large embeddings that a batch looks up."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.models.recommender.features.row_embedding import take_rows
from moe_zoo.validation import shown

from .optimizers import Schedule, check_adam

REFUSED = {  # they update all rows, or divide a sparse gradient, which Keras cannot
    "loss_scale_factor": None,
    "amsgrad": False,
    "weight_decay": None,
    "gradient_accumulation_steps": None,
    "use_ema": False,
}


@keras.saving.register_keras_serializable("moe_zoo")
class LazyAdam(keras.optimizers.Adam):
    r"""Adam whose steps take time in proportion to the ids of a batch, not to the embeddings' size.

    The gradient of an embedding is sparse: it has the rows i of the batch with their gradients g_i,
    summed if a row occurs several times. Only these rows and their moments are updated:

        m_i <- beta_1 m_i + (1 - beta_1) g_i
        v_i <- beta_2 v_i + (1 - beta_2) g_i^2
        w_i <- w_i - rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m_i / (sqrt(v_i) + epsilon)

    where t is the number of all steps. Keras' Adam gives all other rows a gradient of 0: their
    moments decay and their weights still move, which takes time and memory in proportion to the
    table. Weights with a dense gradient are updated as by `keras.optimizers.Adam`. Keras'
    `Embedding` reads its whole table in every step, and TensorFlow then copies it; `RowEmbedding`,
    which a recommender's features use, reads only the rows it needs.

    It trains on one device and under `tf.distribute` strategies, which add the gradients of their
    replicas; each replica clips its own first, as with Keras' optimizers. Gradients on a mesh
    (`ExpertParallel`) are dense, so a mesh refuses this optimizer.

    Args:
        learning_rate: A float or a schedule.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the square root of the second moment.
        clipnorm: Largest norm of the gradient of each weight.
        clipvalue: Largest absolute value of a gradient.
        global_clipnorm: Largest norm of all gradients together. A row that occurs several times
            counts once, by the sum of its gradients.
        **kwargs: `name`, by default `"lazy_adam"`.

    Raises:
        ValueError: If a number is outside its range; if `amsgrad`, `weight_decay`, `use_ema` or
            `gradient_accumulation_steps` is set, which would update all rows; or if
            `loss_scale_factor` is set (wrap the optimizer in a `LossScaleOptimizer` instead).

    Example:

    >>> layer = keras.layers.Embedding(4, 1, embeddings_initializer="ones")
    >>> layer.build([None])
    >>> with tf.GradientTape() as tape:
    ...     loss = tf.reduce_sum(layer(tf.constant([2, 2])))
    >>> LazyAdam(0.1).apply(tape.gradient(loss, layer.trainable_weights), layer.trainable_weights)
    >>> layer.get_weights()[0][:, 0].round(2).tolist()
    [1.0, 1.0, 0.8999999761581421, 1.0]

    Reference: Kingma and Ba 2015, "Adam"; the lazy form as `LazyAdam` of TensorFlow Addons.
    """

    sparse_gradients = True  # so that a mesh, whose gradients are dense, refuses it

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        **kwargs: Any,
    ):
        for key, harmless in REFUSED.items():
            if kwargs.get(key, harmless) not in (harmless, None):
                raise ValueError(
                    "Expected only settings that update just the rows of a batch. Received: "
                    f"{key}={shown(kwargs[key])}. Leave it out, or use keras.optimizers.Adam."
                )
        kwargs.pop("amsgrad", None)
        numbers = check_adam(learning_rate, beta_1, beta_2, epsilon)
        super().__init__(
            *numbers,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            **{"name": "lazy_adam", **kwargs},
        )

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            return grads
        summed = [_sum_rows(g) if isinstance(g, tf.IndexedSlices) else g for g in grads]
        clipped = super()._clip_gradients([getattr(g, "values", g) for g in summed])
        return [
            tf.IndexedSlices(values, g.indices) if isinstance(g, tf.IndexedSlices) else values
            for g, values in zip(summed, clipped, strict=True)
        ]

    def update_step(
        self,
        gradient: tf.Tensor | tf.IndexedSlices,
        variable: keras.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """Update one weight and its moments, or only the rows of a sparse gradient."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        index, dtype = self._get_variable_index(variable), variable.dtype
        places = (self._momentums[index], self._velocities[index], variable)
        rows, g, _ = _row_sums(gradient)
        g = tf.cast(g, dtype)
        step = tf.cast(self.iterations + 1, dtype)
        powers = [tf.pow(tf.cast(beta, dtype), step) for beta in (self.beta_1, self.beta_2)]
        rate = tf.cast(learning_rate, dtype) * tf.sqrt(1 - powers[1]) / (1 - powers[0])

        m, v, w = (take_rows(place, rows) for place in places)
        m += (g - m) * (1 - self.beta_1)
        v += (tf.square(g) - v) * (1 - self.beta_2)
        w -= m * rate / (tf.sqrt(v) + self.epsilon)
        # A row that occurs several times is written several times, with the same values.
        for place, values in zip(places, (m, v, w), strict=True):
            self.assign(place, tf.IndexedSlices(values, rows))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer, without its state."""
        config = super().get_config()
        return {key: value for key, value in config.items() if key not in REFUSED}


def _row_sums(gradient: tf.IndexedSlices) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sum the occurrences of each row of a sparse gradient.

    All results have the length of the gradient, since XLA needs static shapes.

    Args:
        gradient: `tf.IndexedSlices` of N rows.

    Returns:
        The rows `<int>[N]`, sorted; their sums `<float>[N, ...]`, repeated at each occurrence; and
        `<bool>[N]`, whether it is the first occurrence.
    """
    order = tf.argsort(gradient.indices, stable=True)
    rows, values = tf.gather(gradient.indices, order), tf.gather(gradient.values, order)
    first = tf.concat([[True], rows[1:] != rows[:-1]], 0)[: tf.size(rows)]
    number = tf.cumsum(tf.cast(first, tf.int32)) - 1
    sums = tf.math.unsorted_segment_sum(values, number, tf.size(rows))
    return rows, tf.gather(sums, number), first


def _sum_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Keep the sum of each row at its first occurrence, and 0 at the others."""
    rows, sums, first = _row_sums(gradient)
    first = tf.reshape(first, tf.concat([tf.shape(first), [1] * (sums.shape.rank - 1)], 0))
    return tf.IndexedSlices(tf.where(first, sums, tf.zeros_like(sums)), rows)
