"""The data of the classifier's recipe: by name, or a text of the user's own."""

from .docstrings import read_docstrings
from .imdb import read_imdb
from .labelled_text import LabelledText, read_labelled_text
from .settings import DOCSTRINGS, IMDB

KERAS_FOLDER = "~/.keras/datasets"


def read_source(settings) -> LabelledText:
    """Labelled text that the settings ask for.

    Args:
        settings: `ClassifierSettings`.

    Raises:
        OSError: data that are not there.
        ValueError: data that are not as they should be.
    """
    if settings.data == DOCSTRINGS:
        return read_docstrings(settings.num_labels)
    if settings.data == IMDB:
        return read_imdb(settings.path or KERAS_FOLDER)
    return read_labelled_text(settings.data)
