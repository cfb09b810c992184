"""Which dimension of which variable lies on which axis of a mesh."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np

from moe_zoo.experts.experts import Experts
from moe_zoo.terminal import format_table
from moe_zoo.validation import shown

from .optimizer import built_optimizers, optimizer_slots

COLUMNS = {
    "variable": "variable",
    "shape": "shape",
    "layout": "layout",
    "device": "bytes per device",
    "total": "bytes in all",
}


class VariableLayout(NamedTuple):
    """Where one variable lies.

    Fields:
        variable: The variable.
        axes: For each dimension the mesh axis over which it is spread, or `None`.
        parts: Number of devices over which it is spread.
    """

    variable: keras.Variable
    axes: tuple[str | None, ...]
    parts: int

    @property
    def bytes_in_all(self) -> int:
        """Bytes of the whole value."""
        return math.prod(self.variable.shape) * np.dtype(self.variable.dtype).itemsize

    @property
    def bytes_per_device(self) -> int:
        """Bytes that one device holds."""
        return self.bytes_in_all // self.parts


def variable_layouts(
    model: keras.Model,
    sizes: Mapping[str, int],
    expert_axis: str | None,
    rules: Mapping[str, Sequence[str | None]],
) -> list[VariableLayout]:
    """Return the layout of every variable of a model, its optimizer and its metrics.

    Args:
        model: A Keras model.
        sizes: Number of devices by mesh axis.
        expert_axis: Mesh axis of the experts, or `None`.
        rules: Axes by regular expression; the first one that is found in a variable's path decides.

    Raises:
        ValueError: If an axis does not divide a dimension, or a rule fits no variable.
    """
    axes: dict[int, tuple[str | None, ...]] = {}
    used = set()
    for variable in model.variables:
        rule = next((rule for rule in rules if re.search(rule, variable.path)), None)
        if rule is not None:
            used.add(rule)
            axes[id(variable)] = _check_rule(rule, rules[rule], variable)
    if rules and model.built and (unused := [rule for rule in rules if rule not in used]):
        paths = ", ".join(variable.path for variable in model.variables[:3])
        raise ValueError(
            f"Expected rules that fit variables of the model. Received: rules={unused}, which fit "
            f"none of {paths} and so on. ExpertParallel.describe lists them all."
        )
    for variable in expert_variables(model) if expert_axis else ():
        axes.setdefault(id(variable), (expert_axis, *(None,) * (len(variable.shape) - 1)))
    for slot, variable in optimizer_slots(model):
        if id(variable) in axes:
            axes[id(slot)] = _slot_axes(slot, variable, axes[id(variable)])
    layouts = []
    for variable in all_variables(model):
        chosen = axes.get(id(variable), (None,) * len(variable.shape))
        layouts.append(VariableLayout(variable, chosen, _parts(variable, chosen, sizes)))
    return layouts


def describe_layouts(layouts: Sequence[VariableLayout], mesh: str, whole: bool = True) -> str:
    """Return the layouts as text, with or without variables of which each device has a copy."""
    rows = [
        {
            "variable": layout.variable.path,
            "shape": " x ".join(map(str, layout.variable.shape)) or "scalar",
            "layout": ", ".join(axis or "whole" for axis in layout.axes) or "whole",
            "device": layout.bytes_per_device,
            "total": layout.bytes_in_all,
        }
        for layout in layouts
    ]
    total = {key: sum(row[key] for row in rows) for key in ("device", "total")}
    if not whole:
        rows = [row for row, layout in zip(rows, layouts, strict=True) if layout.parts > 1]
    rows.append({"variable": f"all on the mesh {mesh}", "shape": "", "layout": "", **total})
    return format_table(rows, COLUMNS)


def all_variables(model: keras.Model) -> list[keras.Variable]:
    """Return every variable of a model, its optimizer and its metrics, once."""
    variables = list(model.variables)
    for optimizer in built_optimizers(model):
        variables += optimizer.variables
    variables += model.metrics_variables
    return list({id(variable): variable for variable in variables}.values())


def expert_variables(model: keras.Model) -> list[keras.Variable]:
    """Return the stacked weights `[E, ...]` of all experts of a model."""
    return [
        variable
        for layer in model._flatten_layers()
        if isinstance(layer, Experts)
        for variable in layer.weights
        if len(variable.shape) > 1 and variable.shape[0] == layer.num_experts
    ]


def _slot_axes(
    slot: keras.Variable, variable: keras.Variable, axes: tuple[str | None, ...]
) -> tuple[str | None, ...]:
    """Return the variable's axes, or for a factored slot those of the dimensions it has left."""
    if slot.shape == variable.shape:
        return axes
    fits = len(slot.shape) > 0 and slot.shape[0] == variable.shape[0]
    return (axes[0] if fits else None, *(None,) * (len(slot.shape) - 1))[: len(slot.shape)]


def _check_rule(
    rule: str, axes: Sequence[str | None], variable: keras.Variable
) -> tuple[str | None, ...]:
    axes = tuple(axes)
    if len(axes) > len(variable.shape):
        raise ValueError(
            f"Expected at most {len(variable.shape)} axes for {variable.path} of shape "
            f"{tuple(variable.shape)}. Received: rules[{shown(rule)}]={axes}. Give one for each "
            "dimension, None for a whole copy everywhere."
        )
    return (*axes, *(None,) * (len(variable.shape) - len(axes)))


def _parts(variable: keras.Variable, axes: Sequence[str | None], sizes: Mapping[str, int]) -> int:
    parts = 1
    for dim, (size, axis) in enumerate(zip(variable.shape, axes, strict=True)):
        if axis is None:
            continue
        if axis not in sizes:
            raise ValueError(
                f"Expected an axis of the mesh ({', '.join(sizes)}) for dimension {dim} of "
                f"{variable.path}. Received: {shown(axis)}. Correct the rule."
            )
        if size % sizes[axis]:
            raise ValueError(
                f"Expected an axis that divides dimension {dim} of {variable.path}, which is "
                f"{size}. Received: {axis}={sizes[axis]}. Change the mesh or the number of experts."
            )
        parts *= sizes[axis]
    return parts
