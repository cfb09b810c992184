"""The routing statistics in TensorBoard's data, as plain values that JSON can hold."""

import bisect
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tensorboard.data.provider import DataProvider, RunTagFilter

from .names import PLUGIN_NAME, VERSION

# Kind of series -> number of axes of its values.
KINDS = {
    "load": 1,
    "demand": 1,
    "importance": 1,
    "gate_mean": 1,
    "balance": 1,
    "pairs": 2,
    "health": 1,
    "watched": 1,
    "examples": 0,
}
TEXTS = ("health", "watched", "examples")
PER_EXPERT = ("load", "demand", "importance", "gate_mean")
EXACT = 2**53  # below it a whole number is exact in JavaScript
ALL_STEPS = 2**31 - 1  # the provider needs a number; the loader sets how many are kept


class Tag(NamedTuple):
    """What the metadata of one tag says."""

    name: str
    layer: str
    kind: str
    place: int  # of the layer in the model
    group: str | None
    task: str | None
    last: int


class RoutingSeries:
    """Reads layers and their series from TensorBoard's data provider.

    Tags of another version, or with metadata that cannot be read, are left out, and so are values
    of another type or shape than their kind has.

    Args:
        provider: TensorBoard's data provider.
        context: Context of the request.
        experiment: Id of TensorBoard's experiment.
    """

    def __init__(self, provider: DataProvider, context: Any, experiment: str):
        self._provider = provider
        self._where = dict(ctx=context, experiment_id=experiment, plugin_name=PLUGIN_NAME)

    def tags(self) -> dict[str, list[Tag]]:
        """Return the readable tags of each run that has any, in the order of the layers."""
        listed = self._provider.list_tensors(**self._where)
        runs = {}
        for run in sorted(listed):
            read = (_read_tag(name, series) for name, series in listed[run].items())
            if tags := sorted(filter(None, read), key=lambda tag: (tag.place, tag.layer)):
                runs[run] = tags
        return runs

    def layers(self) -> dict[str, list[dict]]:
        """Return the layers of each run: what they are, their kinds of series, their last step."""
        runs = self.tags()
        experts = self._count_experts(runs)
        return {
            run: [
                _describe_layer([tag for tag in tags if tag.layer == layer], experts.get(run, {}))
                for layer in dict.fromkeys(tag.layer for tag in tags)
            ]
            for run, tags in runs.items()
        }

    def read(self, run: str, tags: list[Tag]) -> dict[str, dict]:
        """Return steps and values of each tag, by layer.

        Args:
            run: Name of the run.
            tags: Tags of one kind.
        """
        data = self._read([run], tags, ALL_STEPS).get(run, {})
        return {tag.layer: _series(tag.kind, data.get(tag.name, ())) for tag in tags}

    def _count_experts(self, runs: dict[str, list[Tag]]) -> dict[str, dict[str, int]]:
        """Return the number of experts by run and layer, read from the last value of one tag."""
        chosen = {
            run: {tag.layer: tag for tag in tags if tag.kind in PER_EXPERT}
            for run, tags in runs.items()
        }
        if not (tags := {tag for layers in chosen.values() for tag in layers.values()}):
            return {}
        last = self._read(list(runs), tags, 1)
        return {
            run: {
                layer: int(data[-1].numpy.size)
                for layer, tag in layers.items()
                if (data := last.get(run, {}).get(tag.name))
            }
            for run, layers in chosen.items()
        }

    def _read(self, runs: Sequence[str], tags: Iterable[Tag], steps: int) -> Any:
        chosen = RunTagFilter(runs=runs, tags=[tag.name for tag in tags])
        return self._provider.read_tensors(**self._where, downsample=steps, run_tag_filter=chosen)


def latest(series: dict, step: int) -> dict:
    """Return the part of a series that holds at a step.

    Returns:
        One or no `steps` and `values`, and `until`, the step of the next value or `None`.
    """
    place = bisect.bisect_right(series["steps"], step)
    current = slice(max(place - 1, 0), place)
    return {
        "steps": series["steps"][current],
        "values": series["values"][current],
        "until": next(iter(series["steps"][place:]), None),
    }


def _read_tag(name: str, series: Any) -> Tag | None:
    try:
        content = json.loads(series.plugin_content)
        tag = Tag(
            name,
            str(content["layer"]),
            str(content["kind"]),
            int(content.get("index") or 0),
            _name(content.get("group")),
            _name(content.get("task")),
            int(series.max_step),
        )
        return tag if content["version"] == VERSION and tag.kind in KINDS else None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


def _describe_layer(tags: Sequence[Tag], experts: dict[str, int]) -> dict[str, Any]:
    first = tags[0]
    return {
        "layer": first.layer,
        "index": first.place,
        "group": first.group,
        "task": first.task,
        "experts": experts.get(first.layer),
        "kinds": [kind for kind in KINDS if any(tag.kind == kind for tag in tags)],
        "last": max(tag.last for tag in tags),
    }


def _series(kind: str, data: Iterable[Any]) -> dict[str, list]:
    """Return steps and values; of two values of a step the later one: resumed runs repeat steps."""
    by_step = {
        datum.step: datum.numpy
        for datum in sorted(data, key=lambda datum: datum.wall_time)
        if datum.numpy.ndim == KINDS[kind]
        and datum.numpy.dtype.kind in ("OSU" if kind in TEXTS else "fiu")
    }
    steps = sorted(by_step)
    arrays = [by_step[step] for step in steps]
    convert = _texts if kind in TEXTS else _numbers
    if len({array.shape for array in arrays}) == 1:
        values = convert(np.stack(arrays))
    else:
        values = [convert(array) for array in arrays]
    return {"steps": steps, "values": values}


def _numbers(array: np.ndarray) -> list:
    """Return counts as integers, and what is not finite as `None`: JSON knows no NaN."""
    finite = np.isfinite(array)
    if not finite.all():
        values = array.astype(object)
        values[~finite] = None
        return values.tolist()
    if (array == np.rint(array)).all() and (abs(array) < EXACT).all():
        return array.astype("int64").tolist()
    return array.tolist()


def _texts(values: Any) -> Any:
    """Return nested lists of bytes as nested lists of text."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list):
        return [_texts(value) for value in values]
    return values.decode("utf-8", "replace") if isinstance(values, bytes) else str(values)
