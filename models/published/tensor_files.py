"""The tensor files of a checkpoint's folder: one, or shards with an index."""

import os
from pathlib import Path

from moe_zoo.validation import shown

from .safetensors_file import StoredTensor, read_header
from .strict_json import read_object

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = "model-{number:05d}-of-{count:05d}.safetensors"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
CONVERSION = """
    from transformers import SwitchTransformersForConditionalGeneration
    model = SwitchTransformersForConditionalGeneration.from_pretrained({path!r})
    model.save_pretrained({target!r})
"""


def find_tensors(folder: str | os.PathLike) -> dict[str, StoredTensor]:
    """Return all tensors of a checkpoint by name, not yet read.

    Args:
        folder: `str` or path.

    Raises:
        FileNotFoundError: If there are no tensor files, a shard is missing, or there are only files
            of torch; the error shows how to convert those.
        ValueError: If a file is damaged, or shards do not hold what the index says.
    """
    folder = Path(folder)
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if (folder / INDEX).is_file():
        return _sharded(folder)
    path = str(folder)
    if any((folder / name).is_file() for name in PICKLES):
        raise FileNotFoundError(
            f"Expected {SINGLE} or {INDEX}. Received: path={shown(path)}, with files that only "
            "torch can read. Where torch and transformers are installed, convert it once:\n"
            + CONVERSION.format(path=path, target=f"{path}-safetensors")
        )
    raise FileNotFoundError(
        f"Expected {SINGLE} or {INDEX}. Received: path={shown(path)}, without either. Download all "
        "files of the checkpoint."
    )


def _sharded(folder: Path) -> dict[str, StoredTensor]:
    path = folder / INDEX
    places = _places(path)
    files = sorted(set(places.values()))
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"Expected all shards that {path} names. Received: a folder without {shown(missing)}. "
            "Download them too."
        )
    tensors: dict[str, StoredTensor] = {}
    shard: dict[str, str] = {}
    for name in files:
        for tensor, stored in read_header(folder / name).items():
            if tensor in shard:
                raise ValueError(
                    f"Expected every tensor in one shard. Received: {shown(tensor)} in "
                    f"{shard[tensor]} and {name} of {shown(str(folder))}. Download all files again."
                )
            tensors[tensor], shard[tensor] = stored, name
    if wrong := sorted(x for x in {**places, **shard} if places.get(x) != shard.get(x)):
        raise ValueError(
            f"Expected shards that hold what {path} says. Received: another place for "
            f"{shown(wrong)}. Download index and shards of the same version."
        )
    return tensors


def _places(path: Path) -> dict[str, str]:
    """Return the `weight_map` of an index: the name of a file in its folder for each tensor."""
    try:
        places = read_object(path).get("weight_map")
        if not isinstance(places, dict):
            raise ValueError(f"weight_map is {shown(places)}.")
        for tensor, name in places.items():
            if not isinstance(name, str) or name != Path(name).name or "\0" in name:
                raise ValueError(f"{shown(tensor)} is in {shown(name)}, which is no file's name.")
    except ValueError as error:
        raise ValueError(
            f"Expected an index with a weight_map. Received: {path}, which has none that can be "
            f"read. {error} Download it again."
        ) from error
    return places
