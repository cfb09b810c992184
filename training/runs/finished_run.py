"""What a finished run leaves in its folder: a model and its vocabulary."""

from pathlib import Path

import keras

from moe_zoo.files import new_file
from moe_zoo.files.digests import check_archive, digest, read_json, write_json
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.training.optim import (  # noqa: F401  (Keras finds their classes)
    lazy_adam,
    losses,
    optimizers,
    schedules,
)
from moe_zoo.validation import shown

MODEL, VOCABULARY, SAVED_MODEL = "model.keras", "vocabulary.txt", "saved_model"
LABELS = "labels.json"  # of a classifier
FINISHED = "finished.json"  # the digests of model and vocabulary, which belong together


def learn_or_load(folder, texts, settings, show):
    """The tokenizer of a run: that of its folder if it has begun, else a new one of its text.

    Args:
        folder: `RunFolder`.
        texts: function that gives the texts to learn from, those of the training part.
        settings: has `vocabulary_size`.
        show: function that takes a line of text for the user.
    """
    path = folder / VOCABULARY
    if folder.begun and path.exists():
        return Tokenizer.load(path)
    show("Learning the vocabulary ...")
    tokenizer = Tokenizer(train_vocabulary(texts(), settings.vocabulary_size))
    if folder.writes:
        tokenizer.save(path)
    return tokenizer


def save_for_later(model, tokenizer, folder):
    """Write `model.keras`, `vocabulary.txt` and `saved_model` into a folder, each in one piece.

    `finished.json` holds the digests of the first two.

    Args:
        model: Keras model.
        tokenizer: `Tokenizer`.
        folder: path.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    furnish(model, tokenizer, folder)
    try:
        with new_file(folder / MODEL) as file:
            model.save(file)
        tokenizer.save(folder / VOCABULARY)
        write_json(folder / FINISHED, {x: digest(folder / x) for x in (MODEL, VOCABULARY)})
    except OSError as error:
        raise OSError(
            f"The model could not be written to {shown(str(folder))}: {error}. Make room, and do "
            "the same again."
        ) from error
    model.export(folder / SAVED_MODEL)


def furnish(model, tokenizer, folder):
    """Give a model its tokenizer and, if it is a classifier, the names of its classes.

    Args:
        model: Keras model.
        tokenizer: `Tokenizer`.
        folder: path of its run.
    """
    model.tokenizer = tokenizer
    for name, value in (read_json(Path(folder, LABELS)) or {}).items():
        setattr(model, name, value)


def load_from_folder(folder):
    """The model and the tokenizer of a finished run.

    Raises:
        FileNotFoundError: the folder holds no finished run.
        ValueError: a file is damaged, or the vocabulary is not the model's.
    """
    folder = Path(folder)
    missing = [name for name in (MODEL, VOCABULARY) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"Expected the folder of a finished run, with {MODEL} and {VOCABULARY}. Received: "
            f"{shown(str(folder))}, without {' and '.join(missing)}. Train one by a recipe of "
            "moe-zoo train, with that folder as its --output."
        )
    tokenizer = Tokenizer.load(folder / VOCABULARY)
    for name, expected in (read_json(folder / FINISHED) or {}).items():
        if digest(folder / name) != expected:
            raise ValueError(
                f"Expected model and vocabulary as the run wrote them. Received: "
                f"{shown(str(folder / name))}, which is another file or damaged. Restore it, run "
                f"the training's command again, or delete {FINISHED} if you replaced both."
            )
    try:
        check_archive(folder / MODEL)
        model = keras.models.load_model(folder / MODEL, safe_mode=True)
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise ValueError(
            f"Expected a whole model. Received: {shown(str(folder / MODEL))}, which cannot be "
            f"read: {error}. Run the training's command again: it writes that file anew."
        ) from error
    if tokenizer.vocabulary_size != model.vocabulary_size:
        raise ValueError(
            f"Expected a vocabulary of {model.vocabulary_size} pieces, as the model has. Received: "
            f"{shown(str(folder / VOCABULARY))} with {tokenizer.vocabulary_size}. Restore the file "
            "of the run."
        )
    furnish(model, tokenizer, folder)
    return model, tokenizer
