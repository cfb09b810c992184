"""Auxiliary losses of routers: pure functions of float32 tensors.

Axis letters as in `moe_zoo.plans`. A `mask` is `<bool>[G, S]`, false for tokens that count nowhere,
or `None`.
"""

import math

import tensorflow as tf

from moe_zoo.plans.gathers import pick_scores
from moe_zoo.plans.plan import importance


def cv_squared(values: tf.Tensor) -> tf.Tensor:
    """Compute the squared coefficient of variation, `var(x) / mean(x)^2`, of a population.

    Zero where the mean is zero. No square root is taken, so the gradient is finite at perfect
    balance.

    Args:
        values: `<float32>[E]`.

    Returns:
        `<float32>[]`.

    Example:

    >>> float(cv_squared(tf.constant([1.0, 3.0])))  # variance 1, mean 2
    0.25
    """
    mean = tf.reduce_mean(values)
    variance = tf.reduce_mean(tf.square(values - mean))
    return tf.math.divide_no_nan(variance, tf.square(mean))


def importance_loss(gates: tf.Tensor, experts: tf.Tensor, num_experts: int) -> tf.Tensor:
    """Compute `CV(Importance(X))^2` (Shazeer et al. 2017, eq. 7); 0 if all weigh the same.

    Args:
        gates: `<float32>[G, K, S]`.
        experts: `<int32>[G, K, S]`, E where a token asks for none.
        num_experts: `int`, E.

    Returns:
        `<float32>[]`.
    """
    return cv_squared(importance(gates, experts, num_experts))


def selection_probability(
    clean_logits: tf.Tensor, noisy_logits: tf.Tensor, noise_stddev: tf.Tensor, top_k: int
) -> tf.Tensor:
    """Compute the chance that expert i is among the top K if its own noise were drawn again.

    `P(x, i) = Phi((clean_i - kth_excluding(noisy, K, i)) / stddev_i)` (Shazeer et al. 2017, eq. 8
    and 9). The threshold is the K-th largest noisy logit without i: the (K+1)-th of all if i is
    chosen, else the K-th.

    Args:
        clean_logits: `<float32>[G, S, E]`.
        noisy_logits: `<float32>[G, S, E]`.
        noise_stddev: `<float32>[G, S, E]`, positive.
        top_k: `int`, K.

    Returns:
        `<float32>[G, S, E]`; ones if `top_k >= E`, where there is nothing to compete with (the
        paper leaves that case open).
    """
    if top_k >= noisy_logits.shape[-1]:
        return tf.ones_like(clean_logits)
    # The gradient does not flow through top_k's values, which DTensor cannot differentiate.
    _, index = tf.math.top_k(tf.stop_gradient(noisy_logits), top_k + 1)
    top = pick_scores(noisy_logits, index)
    if_chosen, if_not = top[..., top_k:], top[..., top_k - 1 : top_k]
    threshold = tf.where(noisy_logits > if_chosen, if_chosen, if_not)
    return 0.5 * (1.0 + tf.math.erf((clean_logits - threshold) / (noise_stddev * math.sqrt(2.0))))


def load_loss(probability: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Compute `CV(Load(X))^2`, `Load(X)_i = sum_x P(x, i)` (Shazeer et al. 2017, eq. 10, 11).

    Args:
        probability: `<float32>[G, S, E]`, of `selection_probability`.
        mask: `<bool>[G, S]` or `None`.

    Returns:
        `<float32>[]`.
    """
    return cv_squared(tf.reduce_sum(_masked(probability, mask), [0, 1]))


def balance_loss(
    probabilities: tf.Tensor, experts: tf.Tensor, mask: tf.Tensor | None = None
) -> tf.Tensor:
    """Compute `E * sum_e f_e P_e`, averaged over groups; 1 when routing is uniform.

    `f_e` is the share of tokens whose first choice is e, before capacity; it has no gradient. `P_e`
    is the mean probability of e. This is equation 4 of Fedus et al. (2022) without its weight, and
    E^2 times `l_aux` of GShard's Algorithm 1, whose own optimum is 1/E^2 (Lepikhin et al. 2021;
    their code multiplies by E^2 too).

    Args:
        probabilities: `<float32>[G, S, E]`.
        experts: `<int32>[G, S]`, the first choices.
        mask: `<bool>[G, S]` or `None`. Groups without any token do not count.

    Returns:
        `<float32>[]`.
    """
    num_experts = probabilities.shape[-1]
    chosen = _masked(tf.one_hot(experts, num_experts), mask)
    tokens = tf.reduce_sum(_masked(tf.ones_like(probabilities[..., :1]), mask), 1)  # [G, 1]
    share = tf.math.divide_no_nan(tf.reduce_sum(chosen, 1), tokens)
    mean = tf.math.divide_no_nan(tf.reduce_sum(_masked(probabilities, mask), 1), tokens)
    total = num_experts * tf.reduce_sum(tf.stop_gradient(share) * mean)
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(tokens > 0, tf.float32)))


def z_loss(logits: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Compute the mean of `logsumexp(logits)^2`, which keeps logits small (Zoph et al. 2022).

    Args:
        logits: `<float32>[G, S, E]`.
        mask: `<bool>[G, S]` or `None`.

    Returns:
        `<float32>[]`.
    """
    squared = tf.square(tf.reduce_logsumexp(logits, -1, keepdims=True))
    tokens = tf.reduce_sum(_masked(tf.ones_like(squared), mask))
    return tf.math.divide_no_nan(tf.reduce_sum(_masked(squared, mask)), tokens)


def _masked(values: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    return values if mask is None else tf.where(tf.expand_dims(mask, -1), values, 0.0)
