"""From a model of ours to a checkpoint that the original loads."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moe_zoo.files import check_place, new_folder
from moe_zoo.models.tokenizers.sentencepiece_tokenizer import SentencepieceTokenizer
from moe_zoo.quantizing import quantized_config
from moe_zoo.validation import LARGEST_INT, check_int, shown

from .architecture import describe
from .config import FILE, VOCABULARY, SwitchConfig, config_json
from .safetensors_file import DTYPES, WrittenTensor, write_tensors
from .tensor_files import INDEX, PICKLES, SHARD, SINGLE
from .tensor_names import SHARED, TABLES, Entry, find_weight, weight_table


def save_model(
    model: keras.Model,
    folder: str | os.PathLike,
    dtype: str,
    max_file_size: int,
    expert_capacity: int | None,
) -> None:
    """Write a model as a checkpoint; see `TransformerSeq2Seq.save_huggingface`.

    Weights are written one at a time.

    Args:
        model: `TransformerSeq2Seq`.
        folder: `str` or path of the checkpoint.
        dtype: `str`, of the tensors.
        max_file_size: `int`, bytes of tensors in a file.
        expert_capacity: `int` or `None`, for models that route by another rule.
    """
    path, tokenizer = Path(folder), model.tokenizer
    stored = {x.name: x for x in DTYPES.values()}.get(dtype)
    if stored is None:
        raise ValueError(
            f"Expected one of {', '.join(x.name for x in DTYPES.values())}. Received: "
            f"dtype={shown(dtype)}. bfloat16 takes half the room of float32 and rounds the weights."
        )
    max_file_size = check_int("max_file_size", max_file_size, 1, LARGEST_INT)
    if expert_capacity is not None:
        expert_capacity = check_int("expert_capacity", expert_capacity, 1)
    if tokenizer is not None and not isinstance(tokenizer, SentencepieceTokenizer):
        raise ValueError(
            f"Expected a SentencepieceTokenizer. Received: {shown(model.name)} with a "
            f"{type(tokenizer).__name__}, which has no file in this layout. Save it apart, and set "
            "model.tokenizer = None."
        )
    ids = {"end_id": tokenizer.end_id, "begin_id": tokenizer.begin_id} if tokenizer else {}
    if quantized := quantized_config(model).get("quantized"):
        layer, (mode, _) = next(iter(quantized.items()))
        raise ValueError(
            f"Expected a model without quantization. Received: {shown(model.name)}, whose layer "
            f"{shown(layer)} is in {mode}, for which the layout has no place. Write the checkpoint "
            "before model.quantize()."
        )
    config = describe(model, expert_capacity, **ids)
    _check_target(path)
    with new_folder(path) as new:
        new.mkdir()
        _write_json(new / FILE, config_json(config, dtype))
        _write_json(new / "generation_config.json", _generation(config))
        _write_files(new, stored_tensors(model, config, stored), max_file_size)
        if tokenizer is not None:
            tokenizer.save(new / VOCABULARY)
        if path.exists():
            _keep_others(path, new)


def stored_tensors(
    model: keras.Model, config: SwitchConfig, dtype: np.dtype
) -> dict[str, WrittenTensor]:
    """Return the tensors of a model for `write_tensors`: `(dtype, shape, function)` by name."""
    separate = model.decoder_embedding is not model.embedding
    table = weight_table(config, *(TABLES.values() if separate else (SHARED, SHARED)))
    tensors = {}
    for place, entry in table.items():
        for number, name in enumerate(entry.names):
            value = _reader(find_weight(model, place), entry, number)
            tensors[name] = (dtype, entry.shape, value)
    if not config.tied:  # releases from 5.0 on look for all three tables
        first = tensors[TABLES["encoder"] if separate else SHARED]
        tensors = dict.fromkeys((SHARED, *TABLES.values()), first) | tensors
    return tensors


def _reader(variable: Any, entry: Entry, number: int) -> Callable[[], np.ndarray]:
    """Return the function that reads a tensor of a variable, or of one merged with its LoRA."""

    def read() -> np.ndarray:
        value = keras.ops.convert_to_numpy(variable[number] if entry.stacked else variable)
        return value.T if entry.transposed else value

    return read


def _write_files(folder: Path, tensors: dict[str, WrittenTensor], max_file_size: int) -> None:
    """Write the tensors in one file, or in shards of at most this size and their index."""
    sizes = {
        name: np.dtype(d).itemsize * math.prod(shape) for name, (d, shape, _) in tensors.items()
    }
    shards: list[dict] = [{}]
    room = max_file_size
    for name, tensor in tensors.items():
        if sizes[name] > room and shards[-1]:
            shards.append({})
            room = max_file_size
        shards[-1][name] = tensor
        room -= sizes[name]
    if len(shards) == 1:
        write_tensors(folder / SINGLE, tensors)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = SHARD.format(number=number, count=len(shards))
        write_tensors(folder / file, shard)
        places |= dict.fromkeys(shard, file)
    total = {"total_size": sum(sizes.values())}
    _write_json(folder / INDEX, {"metadata": total, "weight_map": dict(sorted(places.items()))})


def _write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _generation(config: SwitchConfig) -> dict:
    return {
        "pad_token_id": config.pad_id,
        "eos_token_id": config.end_id,
        "decoder_start_token_id": config.begin_id,
    }


def _check_target(path: Path) -> None:
    """Raise `ValueError` unless the path is free, an empty folder or a checkpoint."""
    place = check_place(path, folder=True)
    held = list(place.iterdir()) if place.exists() else []
    if held and (not (place / FILE).is_file() or any(x.is_dir() for x in held)):
        raise ValueError(
            f"Expected a new folder or an earlier checkpoint. Received: path={shown(str(path))}, "
            "which holds other files. Choose another folder."
        )


def _keep_others(old: Path, new: Path) -> None:
    """Copy what is neither written anew nor a tensor file of the earlier checkpoint."""
    for file in old.iterdir():
        if not (file.match("*.safetensors") or file.name in (INDEX, *PICKLES)):
            if not (new / file.name).exists():
                shutil.copy2(file, new)
