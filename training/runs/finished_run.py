"""The model and the vocabulary that a finished run leaves in its folder."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from moe_zoo.files import new_file
from moe_zoo.files.digests import check_archive, digest, read_json, write_json
from moe_zoo.loading import load_model
from moe_zoo.models.text.text_model import TextModel
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.validation import shown

from .run_folder import RunFolder

MODEL, VOCABULARY, SAVED_MODEL = "model.keras", "vocabulary.txt", "saved_model"
LABELS = "labels.json"  # of a classifier whose model does not hold them, as 0.1.0 left it
FINISHED = "finished.json"  # the digests of model and vocabulary, which belong together


def learn_or_load(
    folder: RunFolder,
    texts: Callable[[], Iterable[str]],
    vocabulary_size: int,
    show: Callable[[str], object],
) -> Tokenizer:
    """Load the tokenizer of a run that has begun, or train one.

    Args:
        folder: Folder of the run.
        texts: Function that returns the texts of the training part.
        vocabulary_size: Size of the vocabulary.
        show: Function that takes a line of text for the user.
    """
    path = folder / VOCABULARY
    if folder.begun and path.exists():
        return Tokenizer.load(path)
    show("Training the vocabulary ...")
    tokenizer = Tokenizer(train_vocabulary(texts(), vocabulary_size))
    if folder.writes:
        tokenizer.save(path)
    return tokenizer


def save_for_later(model: TextModel, tokenizer: Tokenizer, folder: str | os.PathLike) -> None:
    """Write `model.keras`, `vocabulary.txt` and `saved_model` into a folder.

    `finished.json` holds the digests of the first two.

    Args:
        model: Trained model.
        tokenizer: Its tokenizer.
        folder: Folder of its run.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder = Path(folder)
    model.tokenizer = tokenizer
    try:
        with new_file(folder / MODEL) as file:
            model.save(file)
        tokenizer.save(folder / VOCABULARY)
        write_json(folder / FINISHED, {x: digest(folder / x) for x in (MODEL, VOCABULARY)})
    except OSError as error:
        raise OSError(
            f"The model could not be written to {shown(str(folder))}: {error}. Make room, and "
            "try again."
        ) from error
    model.export(folder / SAVED_MODEL)


def load_from_folder(folder: str | os.PathLike) -> tuple[TextModel, Tokenizer]:
    """Load the model and the tokenizer of a finished run.

    Args:
        folder: Folder of the run.

    Raises:
        FileNotFoundError: If the folder holds no finished run.
        ValueError: If a file is damaged, or the vocabulary is not the model's.
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
                f"Expected the model and vocabulary that the run wrote. Received: "
                f"{shown(str(folder / name))}, which is another file or damaged. Restore it, run "
                f"the command that trained it again, or delete {FINISHED} if you replaced both."
            )
    try:
        check_archive(folder / MODEL)
        model = load_model(folder / MODEL)
    except Exception as error:  # a damaged file may raise any error
        raise ValueError(
            f"Expected a whole model. Received: {shown(str(folder / MODEL))}, which cannot be "
            f"read: {error}. Run the command that trained it again: it writes that file again."
        ) from error
    if tokenizer.vocabulary_size != model.vocabulary_size:
        raise ValueError(
            f"Expected a vocabulary of {model.vocabulary_size} pieces, as the model has. Received: "
            f"{shown(str(folder / VOCABULARY))} with {tokenizer.vocabulary_size}. Restore the file "
            "of the run."
        )
    model.tokenizer = tokenizer
    for name, value in (read_json(folder / LABELS) or {}).items():
        if getattr(model, name, value) is None:
            setattr(model, name, value)
    return model, tokenizer
