"""Models whose first batch under a strategy is that of one replica."""

from typing import Any

import tensorflow as tf


class BuiltFromOneReplica:
    """Part of a Keras model that makes its losses and metrics from the batch of one replica.

    Keras takes the mean of the replicas' batches, which strings do not have, and which makes
    fractions of ids. It is no `keras.Model`: Keras changes the bases of functional ones in place.
    """

    _distribute_strategy: Any  # what the Keras model has
    distribute_strategy: Any

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None and self._distribute_strategy is not None:
            *_, batches = next(iter(iterator))
            data_batch = tf.nest.map_structure(
                lambda x: self.distribute_strategy.experimental_local_results(x)[0], next(batches)
            )
        super()._maybe_symbolic_build(data_batch=data_batch)  # type: ignore[misc]
