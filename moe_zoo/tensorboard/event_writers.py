"""Writers of event files, one for each folder of a log directory."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from moe_zoo.validation import shown


class EventWriters:
    """Opens a writer for a folder of the log directory on first use.

    Args:
        log_dir: The log directory.
    """

    def __init__(self, log_dir: str):
        self.log_dir = log_dir
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def open(self, folder: str) -> tf.summary.SummaryWriter:
        """Return the writer of a folder, or raise `OSError` if it cannot be written."""
        if folder not in self._writers:
            try:
                self._writers[folder] = tf.summary.create_file_writer(f"{self.log_dir}/{folder}")
            except tf.errors.OpError as error:
                raise OSError(
                    "Expected a folder that can be written. Received: "
                    f"log_dir={shown(self.log_dir)}: {error.message} Give a folder of your own, or "
                    "None to write nothing."
                ) from error
        return self._writers[folder]

    @contextlib.contextmanager
    def writing(self, folder: str) -> Iterator[None]:
        """Write the summaries made within this context to a folder."""
        writer = self.open(folder)
        # Keras' TensorBoard callback leaves a filter of its own in force between batches.
        with writer.as_default(), tf.summary.record_if(True):
            yield
        writer.flush()

    def close(self) -> None:
        """Close all writers; a later use opens them again."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
