"""The smallest mesh whose devices have the memory for a model."""

from moe_zoo.validation import LARGEST_INT, check_int

from .cost import Estimate, estimate


def smallest_mesh(
    memory: int,
    *,
    num_layers: int,
    num_experts: int,
    width: int,
    hidden_dim: int,
    top_k: int,
    capacity_factor: float,
    tokens: int,
    other_parameters: int,
    gated: bool = False,
    use_bias: bool = True,
    group_size: int | None = None,
    min_capacity: int = 4,
    weight_bytes: int = 4,
    activation_bytes: int = 4,
    optimizer_slots: int = 2,
) -> Estimate:
    """Estimate the smallest mesh whose devices have the memory for the training state.

    The state is weights, gradients and optimizer slots. The number of devices is a power of two,
    and the batch lies on the expert axis. Leave room for activations.

    Args:
        memory: Bytes of one device.
        num_layers: As of `estimate`, like all that follow.
        num_experts: Experts of a layer.
        width: Model width.
        hidden_dim: Hidden width of an expert.
        top_k: Choices of a token.
        capacity_factor: Factor of the experts' capacity.
        tokens: Tokens in a batch.
        other_parameters: Trainable parameters outside the experts.
        gated: Whether the experts are gated.
        use_bias: Whether experts have biases.
        group_size: Tokens of a group.
        min_capacity: Least capacity.
        weight_bytes: Bytes of one weight.
        activation_bytes: Bytes of one value in a layer.
        optimizer_slots: Values that the optimizer keeps for a weight.

    Raises:
        ValueError: If the state does not fit however many devices the experts lie on.

    Example:

    >>> sizes = dict(num_layers=1, num_experts=8, width=16, hidden_dim=32, top_k=1, tokens=192)
    >>> cost = smallest_mesh(80_000, capacity_factor=1.0, other_parameters=1810, **sizes)
    >>> cost.mesh, cost.state
    ('expert=4', 63264)
    """
    check_int("memory", memory, least=1, most=LARGEST_INT)
    devices, num_experts = 1, check_int("num_experts", num_experts, least=1)
    while num_experts % devices == 0:
        cost = estimate(
            f"expert={devices}",
            num_layers=num_layers,
            num_experts=num_experts,
            width=width,
            hidden_dim=hidden_dim,
            top_k=top_k,
            capacity_factor=capacity_factor,
            tokens=tokens,
            other_parameters=other_parameters,
            gated=gated,
            use_bias=use_bias,
            group_size=group_size,
            min_capacity=min_capacity,
            weight_bytes=weight_bytes,
            activation_bytes=activation_bytes,
            optimizer_slots=optimizer_slots,
        )
        if cost.state <= memory:
            return cost
        devices *= 2
    raise ValueError(
        f"Expected memory for the state of a model, which is {cost.state:,} bytes on {cost.mesh}, "
        f"the largest mesh of a power of two that divides its experts. Received: "
        f"memory={memory:,}. Use devices with more memory, or an optimizer with fewer slots."
    )
