"""Whether the tensors of a checkpoint are those that its `config.json` describes."""

import os
import re

import numpy as np

from moe_zoo.models.transformer.stack import sparse_blocks
from moe_zoo.validation import shorten, shown

from .config import SwitchConfig
from .safetensors_file import StoredTensor
from .tensor_names import ALIASES, HEAD, SHARED, TABLES, Entry, weight_table

ROUTER = re.compile(r"(encoder|decoder)\.block\.([0-9]{1,9})\.layer\.\d\.mlp\.router\.")


def check_tensors(
    tensors: dict[str, StoredTensor], config: SwitchConfig, path: str | os.PathLike
) -> dict[str, Entry]:
    """Compare tensors with their config and return the weight table of a checkpoint.

    Args:
        tensors: `dict` of `StoredTensor` by name.
        config: `SwitchConfig`.
        path: `str` or path of the folder, for errors.

    Returns:
        `dict` of `Entry` by attribute path, as `weight_table`; encoder and decoder have a table
        each where the checkpoint is untied and theirs differ.

    Raises:
        ValueError: If tensors are missing, surplus or misshaped (up to 50 of each are listed),
            sparse blocks are others than the config's, or tied tables differ.
    """
    _check_counts(tensors, config, path)
    _check_sparse_blocks(tensors, config, path)
    table = weight_table(config, *_tables(tensors, config))
    shapes = {name: entry.shape for entry in table.values() for name in entry.names}
    optional = dict.fromkeys((SHARED, *ALIASES), (config.vocabulary_size, config.width))
    problems = []
    if missing := sorted(shapes.keys() - tensors.keys()):
        problems.append(f"missing: {shorten(missing)}")
    if surplus := sorted(tensors.keys() - shapes.keys() - optional.keys()):
        problems.append(f"surplus: {shorten(surplus)}")
    wrong = [
        f"{name} {shown(list(stored.shape))} in place of {list(expected)}"
        for name, stored in sorted(tensors.items())
        if (expected := {**optional, **shapes}.get(name)) not in (None, stored.shape)
    ]
    if wrong:
        problems.append(f"misshaped: {shorten(wrong)}")
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise ValueError(
            f"Expected the tensors that {path}/config.json describes. Received:{listed}\nDownload "
            "config.json and tensors of the same checkpoint."
        )
    if config.tied:
        _check_copies(tensors, path)
    return table


def _check_counts(
    tensors: dict[str, StoredTensor], config: SwitchConfig, path: str | os.PathLike
) -> None:
    """Raise `ValueError` for more layers or experts than tensors, before each is looked for."""
    sizes = ("num_layers", "num_decoder_layers", "num_experts")
    if wrong := [f"{x}={getattr(config, x)}" for x in sizes if getattr(config, x) > len(tensors)]:
        raise ValueError(
            f"Expected a tensor or more for each layer and expert that {path}/config.json counts. "
            f"Received: {', '.join(wrong)} and {len(tensors)} tensors. Take the config.json of "
            "these tensors."
        )


def _check_sparse_blocks(
    tensors: dict[str, StoredTensor], config: SwitchConfig, path: str | os.PathLike
) -> None:
    routed: dict[str, set[int]] = {"encoder": set(), "decoder": set()}
    for name in tensors:
        if match := ROUTER.match(name):
            routed[match[1]].add(int(match[2]))
    sides = {
        "encoder": sparse_blocks(config.num_layers, config.moe_every),
        "decoder": sparse_blocks(config.num_decoder_layers, config.decoder_moe_every),
    }
    for stack, expected in sides.items():
        if sorted(routed[stack]) != expected:
            raise ValueError(
                f"Expected routers in the {stack}'s blocks {shown(expected)}, as the steps in "
                f"{path}/config.json say. Received: tensors with routers in "
                f"{shown(sorted(routed[stack]))}. "
                f"Correct {stack}_sparse_step, or take the config.json of these tensors."
            )


def _tables(tensors: dict[str, StoredTensor], config: SwitchConfig) -> tuple[str, str]:
    """Return the tables of encoder and decoder: one name, unless each has its own values."""
    if config.tied:
        return SHARED, SHARED
    first, second = (name if name in tensors else SHARED for name in TABLES.values())
    size = (config.vocabulary_size, config.width)
    tables = [tensors[name] for name in (first, second) if name in tensors]
    if [table.shape for table in tables] == [size, size] and _are_equal(*tables):
        return first, first
    return first, second


def _check_copies(tensors: dict[str, StoredTensor], path: str | os.PathLike) -> None:
    """Raise `ValueError` for copies of a tied table that differ from it."""
    copies = [name for name in ALIASES if name in tensors]
    if wrong := [name for name in copies if not _are_equal(tensors[SHARED], tensors[name])]:
        raise ValueError(
            f"Expected copies of {SHARED}, since {path}/config.json ties the tables. Received: "
            f"other values in {', '.join(wrong)}. Set tie_word_embeddings to false if the head "
            f"({HEAD}) was trained apart."
        )


def _are_equal(first: StoredTensor, second: StoredTensor) -> bool:
    """Tell whether two stored tensors have equal shapes and values."""
    if first.shape != second.shape:
        return False
    pairs = zip(first.parts(), second.parts(), strict=True)
    return first == second or all(np.array_equal(a, b) for (_, a), (_, b) in pairs)
