"""Which experts each token went to."""

from typing import NamedTuple

import numpy as np

from moe_zoo.plans.plan import DensePlan, DroplessPlan
from moe_zoo.recording import record_plans
from moe_zoo.validation import shown


class RoutedTokens(NamedTuple):
    """What the router of one layer decided about N tokens, each with K choices.

    Tokens are in the order of the layer's inputs, all axes but the last as one. Those that fill up
    the last group stand at the end and are not real.

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
    def of_plan(cls, plan):
        """What a `RoutingPlan`, `DroplessPlan` or `DensePlan` says; of that gates above 0."""
        real = np.asarray(plan.real()).reshape(-1)
        num_experts = plan.demand.shape[-1]
        if isinstance(plan, DensePlan):
            gates = np.asarray(plan.gates).reshape(-1, num_experts)
            experts = np.argsort(-gates, axis=1, kind="stable").astype(np.int32)
            gates = np.take_along_axis(gates, experts, axis=1)
            experts = np.where(gates > 0, experts, np.int32(num_experts))
            return cls(experts, gates, gates > 0, real, num_experts, dropless=True)
        experts, gates, kept = (
            np.moveaxis(np.asarray(part), 1, 2).reshape(-1, part.shape[1])
            for part in (plan.experts, plan.gates, plan.kept)
        )
        return cls(experts, gates, kept, real, num_experts, isinstance(plan, DroplessPlan))

    def table(self, **columns):
        """A row for each choice of each real token, which `pandas.DataFrame` takes as it is.

        Args:
            **columns: further columns, `[...]` with a value for each token, such as its text.

        Returns:
            `dict` of `<...>[rows]`: `token`, `choice`, `expert`, `gate`, `kept` and those given.

        Raises:
            ValueError: a column with another number of values.
        """
        asked = self.experts < self.num_experts
        token, choice = np.nonzero(asked & self.real[:, np.newaxis])
        rows = {
            "token": token,
            "choice": choice,
            "expert": self.experts[token, choice],
            "gate": self.gates[token, choice],
            "kept": self.kept[token, choice],
        }
        for name, values in columns.items():
            rows[name] = self.by_token(name, values)[token]
        return rows

    def by_token(self, name, values):
        """Values `[...]` of the tokens as `[N]`; what fills up the last group may be left out.

        Raises:
            ValueError: there are more or fewer values than tokens.
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


def routed_tokens(model, inputs) -> dict[str, RoutedTokens]:
    """Run a model on some inputs and see which experts the tokens went to.

    The model runs as it is evaluated: with the capacity of evaluation, without noise. A gate for
    several tasks has the rows of the inputs as tokens, and the experts that it takes as choices.

    Args:
        model: a Keras model or layer with `MoE` layers.
        inputs: as the model takes them.

    Returns:
        `dict` of `RoutedTokens` by the path of each `MoE` layer, or of each gate of several tasks.

    Raises:
        ValueError: the model has neither.

    Example:

    >>> import keras
    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import SwitchRouter
    >>> layer = MoE(SwitchRouter(), FeedForwardExperts(4, 16), name="mixture")
    >>> found = routed_tokens(layer, keras.random.normal((2, 5, 8)))
    >>> found["mixture"].experts.shape
    (10, 1)
    """
    with record_plans() as plans:
        model(inputs, training=False)
    if not plans:
        raise ValueError(
            f"Expected a model with MoE layers. Received: {shown(model.name)}, which calls none. "
            "There is no routing to look at in a dense model."
        )
    return {path: RoutedTokens.of_plan(plan) for path, plan in plans.items()}
