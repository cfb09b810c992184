"""Features by the names of their columns, checked."""

from collections.abc import Mapping
from typing import Any

from moe_zoo.validation import shown

from .feature import Feature


def check_features(features: Any) -> dict[str, Feature]:
    """Return the features by name, each a copy.

    Raises:
        ValueError: If there is no feature, a value is not a feature, or a name or a feature object
            occurs twice.
    """
    pairs = feature_pairs(features)
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if not pairs or twice:
        raise ValueError(
            "Expected at least one feature, each with a name of its own. Received: "
            f"{f'{shown(twice[0])} twice' if twice else 'none'}. Name them by their columns."
        )
    for name, feature in pairs:
        if not isinstance(feature, Feature):
            raise ValueError(
                "Expected features such as Number(), Category() or ListOf(...). Received: "
                f"{shown(name)}: {shown(feature)}. Describe the column by one of them."
            )
    _check_objects(pairs)
    return {name: feature.copy() for name, feature in pairs}


def feature_pairs(features: Any) -> list[tuple[str, Feature]]:
    """Return features as a list of pairs of a column's name and its feature.

    Raises:
        ValueError: If it is neither a `dict` nor pairs.
    """
    pairs = features.items() if isinstance(features, Mapping) else features
    try:
        pairs = [(name, feature) for name, feature in pairs]
        dict(pairs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected a dict of features by column, or a list of pairs. Received: features="
            f"{shown(features)}. Give one such as {{'age': Number()}}."
        ) from error
    return pairs


def _check_objects(pairs: list[tuple[str, Feature]]) -> None:
    """Raise `ValueError` if one feature object describes two columns, alone or in a list."""
    columns: dict = {}
    for name, feature in pairs:
        for part in (feature, getattr(feature, "feature", None)):
            if part is not None and id(part) in columns:
                raise ValueError(
                    "Expected a feature object of its own for each column. Received: "
                    f"{shown(part)} for {shown(columns[id(part)])} and {shown(name)}, each of "
                    "which would have a table and a vocabulary of its own. Make two, as by "
                    "feature.copy()."
                )
            columns[id(part)] = name
