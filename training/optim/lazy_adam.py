"""Adam that touches only the rows of large tables that a batch has looked up."""

import keras
import tensorflow as tf

from moe_zoo.models.recommender.features.row_embedding import take_rows
from moe_zoo.validation import shown

from .optimizers import check_adam

REFUSED = {  # what would move all rows, or divides a sparse gradient as Keras cannot
    "loss_scale_factor": None,
    "amsgrad": False,
    "weight_decay": None,
    "gradient_accumulation_steps": None,
    "use_ema": False,
}


@keras.saving.register_keras_serializable("moe_zoo")
class LazyAdam(keras.optimizers.Adam):
    r"""Adam whose step takes as long as the batch has ids, however large the embeddings are.

    The gradient of an embedding is sparse: rows i of the batch with their gradients g_i, those of a
    row that occurs several times summed. Adam's averages and weights move for these rows alone:

        m_i <- beta_1 m_i + (1 - beta_1) g_i
        v_i <- beta_2 v_i + (1 - beta_2) g_i^2
        w_i <- w_i - rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m_i / (sqrt(v_i) + epsilon)

    with the number t of all steps. Keras' Adam gives all other rows a gradient of 0, by which their
    averages decay and their weights still move, in a time and memory that grow with the table. A
    weight with a dense gradient gets Adam as Keras has it. Keras' `Embedding` reads its whole table
    in every step, and TensorFlow then copies it; `RowEmbedding`, that of a recommender's
    features, reads the rows it needs.

    It trains on one device and under `tf.distribute` strategies, whose replicas' gradients are
    added; each replica clips its own before, as with Keras' optimizers. On a mesh
    (`ExpertParallel`) gradients are dense: it is refused.

    Args:
        learning_rate: A float or a schedule.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the square root of the second moment.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, such as `global_clipnorm`, which counts a row
            that occurs several times once, by the sum of its gradients.

    Raises:
        ValueError: If an argument asks for a step of all rows, `amsgrad`, `weight_decay`, `use_ema`
            or `gradient_accumulation_steps`, or for `loss_scale_factor` (a `LossScaleOptimizer`
            around it works).

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
        learning_rate=0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "lazy_adam",
        **kwargs,
    ):
        for key, harmless in REFUSED.items():
            if kwargs.get(key, harmless) not in (harmless, None):
                raise ValueError(
                    "Expected only what works on the rows of a batch. Received: "
                    f"{key}={shown(kwargs[key])}. Leave it out, or use keras.optimizers.Adam."
                )
        kwargs.pop("amsgrad", None)
        numbers = check_adam(learning_rate, beta_1, beta_2, epsilon)
        super().__init__(*numbers, name=name, **kwargs)

    def _clip_gradients(self, grads):
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            return grads
        summed = [_sum_rows(g) if isinstance(g, tf.IndexedSlices) else g for g in grads]
        clipped = super()._clip_gradients([getattr(g, "values", g) for g in summed])
        return [
            tf.IndexedSlices(values, g.indices) if isinstance(g, tf.IndexedSlices) else values
            for g, values in zip(summed, clipped, strict=True)
        ]

    def update_step(self, gradient, variable, learning_rate):
        """Update one weight and its moments, or some rows of them."""
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
        # A row that occurs several times is written as often, each time the same.
        for place, values in zip(places, (m, v, w), strict=True):
            self.assign(place, tf.IndexedSlices(values, rows))

    def get_config(self):
        """Arguments that make an equal optimizer, without its state."""
        config = super().get_config()
        return {key: value for key, value in config.items() if key not in REFUSED}


def _row_sums(gradient):
    """Rows of a sparse gradient and their sums.

    All have the static length of the gradient, since XLA knows no other.

    Args:
        gradient: `tf.IndexedSlices` of N rows.

    Returns:
        `<int>[N]`, the rows, equal ones side by side; `<float>[N, ...]`, the sum of each at every
        occurrence; `<bool>[N]`, whether it is the first one.
    """
    order = tf.argsort(gradient.indices, stable=True)
    rows, values = tf.gather(gradient.indices, order), tf.gather(gradient.values, order)
    first = tf.concat([[True], rows[1:] != rows[:-1]], 0)[: tf.size(rows)]
    number = tf.cumsum(tf.cast(first, tf.int32)) - 1
    sums = tf.math.unsorted_segment_sum(values, number, tf.size(rows))
    return rows, tf.gather(sums, number), first


def _sum_rows(gradient):
    """A sparse gradient with the sum of a row at its first occurrence and 0 at the others."""
    rows, sums, first = _row_sums(gradient)
    first = tf.reshape(first, tf.concat([tf.shape(first), [1] * (sums.shape.rank - 1)], 0))
    return tf.IndexedSlices(tf.where(first, sums, tf.zeros_like(sums)), rows)
