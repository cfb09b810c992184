"""A progress bar with the few numbers that one watches."""

import math
import time

import keras

TASK = ("loss", "perplexity", "accuracy")
SHOWN = (*TASK, "dropped_fraction", *(f"val_{name}" for name in TASK))


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, with loss, perplexity or accuracy, and dropped fraction only.

    All the rest is in TensorBoard.
    Also adds the `seconds` of each epoch's training steps to its logs, without the validation. Use
    it with `fit(verbose=0)`.

    Args:
        show: `bool`.
    """

    def __init__(self, show=True):
        super().__init__()
        self.show = int(show)

    def set_params(self, params):
        super().set_params({**params, "verbose": self.show})

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self.seconds = time.perf_counter() - self.started
        super().on_train_batch_end(batch, _few(logs))

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = self.seconds
        super().on_epoch_end(epoch, _few(logs))


class FailOnNaN(keras.callbacks.Callback):
    """Ends a run whose loss is not finite, before callbacks that follow save what it became.

    As `keras.callbacks.TerminateOnNaN(raise_error=True)`, which Keras has from 3.13 on.
    """

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise RuntimeError(
                f"Expected a finite loss. Received: loss={loss} at batch {batch} of the epoch. "
                "Lower the learning rate."
            )


def _few(logs):
    return {
        name.removeprefix("moe_"): value
        for name, value in (logs or {}).items()
        if name.removeprefix("moe_") in SHOWN
    }
