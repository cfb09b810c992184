"""Scores of a classifier, over all texts and for each label."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from moe_zoo.terminal import format_table

Numbers = np.ndarray | Sequence[int]


def label_scores(labels: Numbers, predicted: Numbers, names: Sequence[str]) -> list[dict[str, Any]]:
    """Compute precision, recall and F1 of each label.

    With t true positives, p texts predicted to have a label and n texts that have it, the precision
    is t / p, the recall t / n, and `F1 = 2 t / (p + n)`. Scores with a denominator of 0 are 0.

    Args:
        labels: Indices of the correct labels, `<int>[texts]`.
        predicted: Indices of the predicted labels, `<int>[texts]`.
        names: Names of the labels.

    Returns:
        A `dict` for each label.

    Example:

    >>> [round(row["f1"], 3) for row in label_scores([0, 0, 1], [0, 1, 1], ["no", "yes"])]
    [0.667, 0.667]
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    rows = []
    for number, name in enumerate(names):
        correct = int(np.sum((labels == number) & (predicted == number)))
        positives, texts = int(np.sum(predicted == number)), int(np.sum(labels == number))
        rows.append(
            {
                "label": name,
                "texts": texts,
                "precision": correct / max(positives, 1),
                "recall": correct / max(texts, 1),
                "f1": 2 * correct / max(positives + texts, 1),
            }
        )
    return rows


def summary(labels: Numbers, predicted: Numbers, names: Sequence[str]) -> dict[str, float]:
    """Compute the accuracy, and the macro F1: the mean over the labels that occur.

    Args:
        labels: Indices of the correct labels, `<int>[texts]`.
        predicted: Indices of the predicted labels, `<int>[texts]`.
        names: Names of the labels.

    Returns:
        `accuracy` and `macro_f1`.
    """
    scores = [row["f1"] for row in label_scores(labels, predicted, names) if row["texts"]]
    accuracy = np.mean(np.asarray(labels) == np.asarray(predicted))
    return {"accuracy": float(accuracy), "macro_f1": float(np.mean(scores))}


def label_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `label_scores` as a table."""
    columns = {name: name for name in ("label", "texts", "precision", "recall", "f1")}
    return format_table(rows, columns)
