"""Draw two regression tasks of a chosen correlation, the synthetic data of the MMoE paper."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from moe_zoo.validation import LARGEST_INT, check_int, shown

# The paper gives the form of the data, but not the scale c, the number m of sines, or their
# frequencies and phases. Two variants are those of public implementations; `linear` has no sines or
# noise. Noise is a standard deviation: the paper's N(0, 0.01) is 0.1 if 0.01 is the variance, as
# usual; one of the implementations takes it for the standard deviation.
VARIANTS: dict[str, dict] = {
    "google_research": {"scale": 1.0, "sines": 10, "phases": "squares", "noise": 0.01},
    "drawbridge": {"scale": 0.3, "sines": 5, "phases": "normal", "noise": 0.1},
    "linear": {"scale": 1.0, "sines": 0, "phases": "squares", "noise": 0.0},
}


class SyntheticTasks(NamedTuple):
    """Rows of two related tasks with D inputs.

    Attributes:
        inputs: `<float32>[rows, D]`.
        labels: `<float32>[rows, 2]`, one column for each task.
        weights: Weights w1 and w2 of the tasks, `<float64>[2, D]`.
    """

    inputs: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def draw_task_weights(
    correlation: float, dim: int, scale: float, generator: np.random.Generator
) -> np.ndarray:
    """Draw the weights of two tasks with the cosine p between them.

    As in section 3.2 of the paper, with random orthonormal vectors u1 and u2:
    `w1 = c * u1`, `w2 = c * (p * u1 + sqrt(1 - p^2) * u2)`.

    Args:
        correlation: Cosine p, from -1 to 1.
        dim: Number of inputs, D, at least 2.
        scale: Length c of both weights.
        generator: Random number generator.

    Returns:
        `<float64>[2, D]`.

    Raises:
        ValueError: If p is not from -1 to 1, or if D is below 2.

    Example:

    >>> w1, w2 = draw_task_weights(0.5, 100, 1.0, np.random.default_rng(0))
    >>> round(float(w1 @ w2), 12)
    0.5
    """
    check_int("dim", dim, 2)
    if not -1.0 <= correlation <= 1.0:
        raise ValueError(
            f"Expected a correlation from -1 to 1. Received: correlation={shown(correlation)}. It "
            "is the cosine of the angle between the weights of the two tasks."
        )
    directions, _ = np.linalg.qr(generator.standard_normal((dim, 2)))  # [D, 2], orthonormal
    u1, u2 = directions.T
    across = np.sqrt(1.0 - correlation**2)
    return scale * np.stack([u1, correlation * u1 + across * u2])


def draw_tasks(
    rows: int,
    correlation: float,
    dim: int = 100,
    variant: str | Mapping = "google_research",
    seed: int = 0,
) -> SyntheticTasks:
    """Draw rows of two regression tasks of a chosen correlation.

    As in section 3.2 of the paper, for the tasks t = 1, 2 and inputs `x ~ N(0, I)`:
    `y_t = w_t.x + sum_i sin(alpha_i * w_t.x + beta_i) + eps_t`, `eps_t ~ N(0, noise^2)`. Both tasks
    share alpha and beta. Without sines and noise the Pearson correlation of the labels is p itself;
    with them it grows with p.

    Args:
        rows: Number of rows. Draw all parts of a data set in one call, since another seed gives
            another pair of tasks.
        correlation: Cosine p of the weights of the two tasks.
        dim: Number of inputs, D; the paper has 100.
        variant: Name in `VARIANTS`, or a dict with the same keys: `scale` c, `sines` m, `phases`
            `"squares"` (`alpha_i = i`, `beta_i = i^2`, i from 1) or `"normal"` (both drawn from
            N(0, 1)), and `noise`, a standard deviation.
        seed: Seed of the tasks and the rows.

    Returns:
        `SyntheticTasks`.

    Raises:
        ValueError: If a size or p is outside its range, or if the variant is unknown.

    Example:

    >>> tasks = draw_tasks(1000, correlation=0.9, variant="drawbridge")
    >>> tasks.inputs.shape, tasks.labels.shape
    ((1000, 100), (1000, 2))

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD 2018, section 3.2. The paper does not give the constants, so
    absolute losses cannot be compared with its figures, but orders and spreads can.
    """
    check_int("rows", rows, 1)
    check_int("seed", seed, 0, LARGEST_INT)
    constants = _constants(variant)
    generator = np.random.default_rng(seed)
    weights = draw_task_weights(correlation, dim, constants["scale"], generator)
    alphas, betas = _draw_sines(constants, generator)
    inputs = generator.standard_normal((rows, dim), dtype=np.float32)
    projections = inputs @ weights.T  # [rows, 2]
    labels = projections.copy()
    for alpha, beta in zip(alphas, betas, strict=True):
        labels += np.sin(alpha * projections + beta)
    labels += constants["noise"] * generator.standard_normal(labels.shape)
    return SyntheticTasks(inputs, labels.astype(np.float32), weights)


def _constants(variant: str | Mapping) -> dict:
    if isinstance(variant, str):
        if variant not in VARIANTS:
            raise ValueError(
                f"Expected one of {', '.join(VARIANTS)}, or a dict of constants. Received: "
                f"variant={shown(variant)}. The default is 'google_research'."
            )
        return VARIANTS[variant]
    keys = VARIANTS["linear"].keys()
    if set(variant) != set(keys) or variant["phases"] not in ("squares", "normal"):
        raise ValueError(
            f"Expected a dict of {', '.join(keys)}, with 'squares' or 'normal' as phases. "
            f"Received: variant={shown(dict(variant))}. Copy one of VARIANTS and change it."
        )
    check_int("sines", variant["sines"], 0)
    return dict(variant)


def _draw_sines(
    constants: Mapping, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw frequencies alpha and phases beta, `<float64>[m]` each."""
    if constants["phases"] == "normal":
        alphas, betas = generator.standard_normal((2, constants["sines"]))
        return alphas, betas
    alphas = np.arange(1.0, constants["sines"] + 1)
    return alphas, alphas**2
