"""Models whose first batch under a strategy is that of one replica."""

import keras
import tensorflow as tf


class BuiltFromOneReplica(keras.Model):
    """A model that makes its losses and metrics from the batch of one replica.

    Keras takes the mean of the replicas' batches, which strings do not have, and which makes
    fractions of ids.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if iterator is not None and self._distribute_strategy is not None:
            _, _, batches = next(iter(iterator))
            data_batch = tf.nest.map_structure(
                lambda x: self.distribute_strategy.experimental_local_results(x)[0], next(batches)
            )
        super()._maybe_symbolic_build(data_batch=data_batch)
