"""How good a classifier is, over all texts and for each label."""

import numpy as np

from moe_zoo.terminal import format_table


def label_scores(labels, predicted, names):
    """Precision, recall and F1 of each label.

    With the true positives t, the texts predicted p and those that there are n of a label,
    precision is t / p, recall t / n and `F1 = 2 t / (p + n)`; 0 where nothing is predicted.

    Args:
        labels: `<int>[texts]`.
        predicted: `<int>[texts]`.
        names: of the labels.

    Returns:
        `list` of `dict`, one for each label.

    Example:

    >>> [round(row["f1"], 3) for row in label_scores([0, 0, 1], [0, 1, 1], ["no", "yes"])]
    [0.667, 0.667]
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    rows = []
    for number, name in enumerate(names):
        right = int(np.sum((labels == number) & (predicted == number)))
        found, there = int(np.sum(predicted == number)), int(np.sum(labels == number))
        rows.append(
            {
                "label": name,
                "texts": there,
                "precision": right / max(found, 1),
                "recall": right / max(there, 1),
                "f1": 2 * right / max(found + there, 1),
            }
        )
    return rows


def summary(labels, predicted, names):
    """Accuracy, and the mean F1 of the labels that there are ("macro").

    Args:
        labels: `<int>[texts]`.
        predicted: `<int>[texts]`.
        names: of the labels.

    Returns:
        `dict` of `float`: `accuracy`, `macro_f1`.
    """
    scores = [row["f1"] for row in label_scores(labels, predicted, names) if row["texts"]]
    accuracy = np.mean(np.asarray(labels) == np.asarray(predicted))
    return {"accuracy": float(accuracy), "macro_f1": float(np.mean(scores))}


def label_table(rows):
    """The table of `label_scores`."""
    columns = {name: name for name in ("label", "texts", "precision", "recall", "f1")}
    return format_table(rows, columns)
