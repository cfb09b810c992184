"""Which experts each token went to."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from moe_zoo.plans import Plan
from moe_zoo.scopes import record_plans, record_plans_by_metric
from moe_zoo.validation import shown


class RoutedTokens(NamedTuple):
    """What the router of one layer decided about N tokens, each with K choices.

    Tokens are in the order of the layer's inputs, all axes but the last as one. The padding of the
    last group comes at the end and is not real.

    Fields:
        experts: `<int32>[N, K]`, E where a token asks for none.
        gates: `<float32>[N, K]`, the weight of that expert's output, before any drop.
        kept: `<bool>[N, K]`, whether the expert computes it; else no slot was left, or none asked.
        real: `<bool>[N]`, tokens that are not masked.
        num_experts: `int`, E.
        dropless: `bool`, whether the layer ran without a capacity, so that nothing was dropped.
    """

    experts: np.ndarray
    gates: np.ndarray
    kept: np.ndarray
    real: np.ndarray
    num_experts: int
    dropless: bool = False

    @classmethod
    def of_plan(cls, plan: Plan) -> "RoutedTokens":
        """Read a plan; of a dense one the experts with a gate above 0 count.

        Args:
            plan: A routing plan.
        """
        experts, gates, kept = (
            np.moveaxis(np.asarray(part), 1, 2).reshape(-1, part.shape[1])
            for part in plan.choices()
        )
        mask = np.asarray(plan.token_mask()).reshape(-1)
        return cls(experts, gates, kept, mask, plan.probabilities.shape[-1], plan.dropless)

    def table(self, columns: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Return a row for each choice of each real token, as `pandas.DataFrame` takes it.

        Args:
            columns: More columns by name, `[...]` with a value for each token, such as its text.

        Returns:
            The columns `token`, `choice`, `expert`, `gate`, `kept` and those given, `<...>[rows]`.

        Raises:
            ValueError: If a column has another number of values.
        """
        has_expert = self.experts < self.num_experts
        token, choice = np.nonzero(has_expert & self.real[:, np.newaxis])
        rows = {
            "token": token,
            "choice": choice,
            "expert": self.experts[token, choice],
            "gate": self.gates[token, choice],
            "kept": self.kept[token, choice],
        }
        for name, values in (columns or {}).items():
            rows[name] = self.by_token(name, values)[token]
        return rows

    def by_token(self, name: str, values: Any) -> np.ndarray:
        """Return values `[...]` as `[N]`; those of the last group's padding may be missing.

        Args:
            name: Name of the values, for messages.
            values: A value for each token.

        Raises:
            ValueError: If there are more or fewer values than tokens.
        """
        values = np.asarray(values).reshape(-1)
        missing = len(self.real) - len(values)
        if missing < 0 or np.any(self.real[len(values) :]):
            raise ValueError(
                f"Expected a value for each of {len(self.real)} tokens. Received: {name} with "
                f"{len(values)}. Give those of the inputs that this layer sees: a decoder's are "
                "the targets."
            )
        return np.concatenate([values, np.repeat(values[:1], missing)])


class RoutedText(NamedTuple):
    """Texts as one layer sees them, and what its router decided.

    Fields:
        ids: `<int32>[B, T]`, padded at the end.
        pieces: Text of each token by its id.
        routed: The `B * T` routed tokens; padding is not real.
    """

    ids: np.ndarray
    pieces: dict[int, str]
    routed: RoutedTokens


def routed_tokens(model: Any, inputs: Any) -> dict[str, RoutedTokens]:
    """Run a model on some inputs and return which experts the tokens went to.

    The model runs as in evaluation: with the capacity of evaluation, without noise. Its statistics
    stay as they are. A gate for several tasks has the rows of the inputs as tokens, and the experts
    that it takes as choices.

    Args:
        model: A Keras model or layer with `MoE` layers.
        inputs: Inputs of the model.

    Returns:
        The routed tokens by the path of each `MoE` layer, or of each gate of several tasks.

    Raises:
        ValueError: If the model has neither.

    Example:

    >>> import keras
    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import SwitchRouter
    >>> layer = MoE(SwitchRouter(), FeedForwardExperts(4, 16), name="mixture")
    >>> routed = routed_tokens(layer, keras.random.normal((2, 5, 8)))
    >>> routed["mixture"].experts.shape
    (10, 1)
    """
    # A plan that is recorded by metric is not counted.
    with record_plans_by_metric(), record_plans() as plans:
        model(inputs, training=False)
    if not plans:
        raise ValueError(
            f"Expected a model with MoE layers. Received: {shown(model.name)}, which calls none. "
            "There is no routing to look at in a dense model."
        )
    return {path: RoutedTokens.of_plan(plan) for path, plan in plans.items()}
