"""A progress bar with few numbers."""

import math
import statistics
import time
from collections.abc import Mapping
from typing import Any

import keras

TASK = ("loss", "perplexity", "accuracy")
SHOWN = (*TASK, *(f"val_{name}" for name in TASK))


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar with loss, perplexity or accuracy, and mean dropped fraction only.

    TensorBoard shows the rest. The callback also adds the `seconds` of each epoch's training steps
    to its logs, without the validation. Use it with `fit(verbose=0)`.

    Args:
        show: Whether to show the bar.
    """

    def __init__(self, show: bool = True):
        super().__init__()
        self.show = int(show)

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params({**params, "verbose": self.show})

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = time.perf_counter()
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.seconds = time.perf_counter() - self.started
        super().on_train_batch_end(batch, _few(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        logs["seconds"] = self.seconds
        super().on_epoch_end(epoch, _few(logs))


class FailOnNaN(keras.callbacks.Callback):
    """Ends a run whose loss is not finite, before the next callbacks save the model.

    As `keras.callbacks.TerminateOnNaN(raise_error=True)`, which Keras has from 3.13 on.
    """

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise RuntimeError(
                f"Expected a finite loss. Received: loss={loss} at batch {batch} of the epoch. "
                "Lower the learning rate."
            )


def dropped_fraction(logs: Mapping[str, float]) -> float | None:
    """Compute the mean dropped fraction over the mixtures in training; `None` without mixtures."""
    fractions = [
        value
        for name, value in logs.items()
        if name.endswith("_dropped_fraction") and not name.startswith("val_")
    ]
    return statistics.fmean(fractions) if fractions else None


def _few(logs: dict[str, Any] | None) -> dict[str, Any]:
    logs = logs or {}
    few = {name: value for name, value in logs.items() if name in SHOWN}
    dropped = dropped_fraction(logs)
    return few if dropped is None else few | {"dropped_fraction": dropped}
