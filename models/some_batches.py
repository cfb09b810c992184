"""Models that refuse data without a batch, from which Keras reports losses of 0."""

from typing import Any

import keras


class SomeBatches:
    """Part of a Keras model whose `fit`, `evaluate` and `predict` need at least one batch.

    Keras trains on none without a word, evaluates to 0, and predicts with an `UnboundLocalError`.
    It is no `keras.Model`: Keras changes the bases of functional ones in place.
    """

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does. Raise `ValueError` if any data hold no batch."""
        callbacks = _with_count(callbacks)
        return super().fit(  # type: ignore[misc]
            x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Evaluate as Keras does. Raise `ValueError` if the data hold no batch."""
        callbacks = _with_count(callbacks)
        return super().evaluate(  # type: ignore[misc]
            x, y, batch_size, verbose, sample_weight, steps, callbacks, *args, **kwargs
        )

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Predict as Keras does. Raise `ValueError` if the data hold no batch."""
        callbacks = _with_count(callbacks)
        return super().predict(x, batch_size, verbose, steps, callbacks)  # type: ignore[misc]


class BatchCount(keras.callbacks.Callback):
    """Raises `ValueError` at the end of an epoch, evaluation or prediction without a batch."""

    async_safe = True  # Keras need not wait for it after each batch

    def __init__(self) -> None:
        super().__init__()
        self.trained = self.tested = self.predicted = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start to count."""
        self.trained = 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count a batch."""
        self.trained += 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Refuse an epoch of nothing."""
        _refuse_none(self.trained, "train")

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Start to count."""
        self.tested = 0

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count a batch."""
        self.tested += 1

    def on_test_end(self, logs: dict | None = None) -> None:
        """Refuse an evaluation of nothing."""
        _refuse_none(self.tested, "evaluate")

    def on_predict_begin(self, logs: dict | None = None) -> None:
        """Start to count."""
        self.predicted = 0

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count a batch."""
        self.predicted += 1

    def on_predict_end(self, logs: dict | None = None) -> None:
        """Refuse a prediction of nothing."""
        _refuse_none(self.predicted, "predict")


def with_callback(callbacks: Any, callback: keras.callbacks.Callback) -> Any:
    """Return the callbacks of a call with one more before them, or behind those of a list."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(callback)
        return callbacks
    return [callback, *keras.tree.flatten([] if callbacks is None else callbacks)]


def _with_count(callbacks: Any) -> Any:
    """Return the callbacks with one `BatchCount`."""
    running = callbacks.callbacks if isinstance(callbacks, keras.callbacks.CallbackList) else ()
    if any(isinstance(callback, BatchCount) for callback in running):
        return callbacks
    return with_callback(callbacks, BatchCount())


def _refuse_none(batches: int, verb: str) -> None:
    if not batches:
        raise ValueError(
            f"Expected at least one batch to {verb} on. Received: data without a row, or whose "
            "rows have been read. Check what they are read from, and repeat data that end."
        )
