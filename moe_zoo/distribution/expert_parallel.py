"""Expert parallelism: a Keras model on a mesh of devices."""

import contextlib

import keras
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.constrain import EXPERT, GROUP, placing

from .checks import check_equal_everywhere, check_model
from .layouts import all_variables, describe_layouts, variable_layouts
from .mesh import describe_axes, make_mesh
from .sharded_variable import ShardedVariable, to_mesh
from .training_functions import give_back, take_over
from .watchdog import DEFAULT_TIMEOUT, WATCHDOG


class ExpertParallel:
    """Spreads the experts of any Keras model over the devices of a mesh; `fit` stays as it was.

    Each device holds `E / n` of the experts of every `MoE` layer, and their optimizer's slots; all
    else is on each of them. A batch is spread over `batch_axis`, each device routes its own tokens,
    and the chosen ones travel to their experts and back by all-to-all (Lepikhin et al. 2021).

    Args:
        mesh: axes and their sizes, `"batch=2,expert=4"`, or a `dtensor.Mesh`.
        batch_axis: mesh axis over which a batch is spread. `"auto"` is the axis `batch` if the mesh
            has it, else that of the experts, as in GShard; `None` gives each device the whole
            batch.
        expert_axis: mesh axis of the experts. `"auto"` is the axis `expert`; without it every
            device holds all experts, and only the batch is spread.
        rules: `dict` of regular expression to axes, one for each dimension, for variables that are
            to lie otherwise; searched for in `variable.path`.
        device_type: `"CPU"` or `"GPU"`; `None` takes the GPUs if there are any.
        collective_timeout: `float`, seconds that a step, a read of a variable, or the first meeting
            of several processes may take; then those that wait end with a message. A step that
            compiles may take 600 s at least.

    Raises:
        ValueError: axes that the mesh does not have, or devices that the machine does not have.
        RuntimeError: the environment has DTensor compute wrong numbers.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import SwitchRouter
    >>> mixture = MoE(SwitchRouter(), FeedForwardExperts(4, 16))
    >>> model = keras.Sequential([keras.Input((8,)), mixture])
    >>> model.compile("adam", "mse")
    >>> plan = ExpertParallel("expert=1")
    >>> plan.distribute(model)
    >>> model.predict(tf.ones([3, 8]), verbose=0).shape
    (3, 8)
    >>> plan.gather(model)

    Reference: Lepikhin et al., "GShard", ICLR 2021, arXiv 2006.16668.
    """

    def __init__(
        self,
        mesh,
        batch_axis="auto",
        expert_axis="auto",
        rules=None,
        device_type=None,
        collective_timeout=DEFAULT_TIMEOUT,
    ):
        if not collective_timeout > 0:
            raise ValueError(
                "Expected a time above 0. Received: collective_timeout="
                f"{collective_timeout!r}. Give it the seconds that the slowest step may take."
            )
        WATCHDOG.seconds = collective_timeout
        self.mesh = mesh if isinstance(mesh, dtensor.Mesh) else make_mesh(mesh, device_type)
        self.sizes = {name: self.mesh.dim_size(name) for name in self.mesh.dim_names}
        if expert_axis == "auto":
            expert_axis = "expert" if "expert" in self.sizes else None
        if batch_axis == "auto":
            batch_axis = "batch" if "batch" in self.sizes else expert_axis
        for name, axis in (("batch_axis", batch_axis), ("expert_axis", expert_axis)):
            if axis is not None and axis not in self.sizes:
                raise ValueError(
                    f"Expected an axis of the mesh ({', '.join(self.sizes)}). Received: "
                    f"{name}={axis!r}."
                )
        self.batch_axis, self.expert_axis = batch_axis, expert_axis
        self.rules = dict(rules or {})

    def distribute(self, model):
        """Put a model on the mesh, its optimizer and metrics too when they are made.

        Args:
            model: any Keras model; one that is not built yet is placed when it sees its first
                batch.

        Raises:
            ValueError: something that the mesh cannot run, named, with advice; nothing is changed
                then.
        """
        check_model(model, self.expert_axis, self.sizes.get(self.expert_axis, 1))
        self.layouts(model)
        self.gather(model)
        take_over(model, self)
        if model.built:
            build_optimizer(model)
            self.place(model)

    def gather(self, model):
        """Take a model off its mesh: plain variables again, for export or another mesh."""
        for variable in all_variables(model):
            if isinstance(variable._value, ShardedVariable):
                variable._value = tf.Variable(
                    variable._value.numpy(), trainable=variable.trainable, name=variable.name
                )
        give_back(model)

    def layouts(self, model):
        """Where each variable of a model lies, or will lie: a list of `VariableLayout`."""
        return variable_layouts(model, self.sizes, self.expert_axis, self.rules)

    def describe(self, model):
        """The layouts as a table: every variable, its axes, its bytes on one device and in all."""
        return describe_layouts(self.layouts(model), describe_axes(self.sizes.items()))

    def place(self, model):
        """Move the variables that are not on the mesh yet, one at a time."""
        missing = [
            (variable, self.layout(axes))
            for variable, axes, _ in self.layouts(model)
            if not isinstance(variable._value, ShardedVariable)
        ]
        if missing:
            values = (variable._value.numpy() for variable, _ in missing)
            check_equal_everywhere(values, self.mesh, "variables")
        for variable, layout in missing:
            variable._value = ShardedVariable(
                to_mesh(variable._value.numpy(), layout),
                trainable=variable.trainable,
                name=variable.name,
            )
        reindex_optimizer(model)

    def layout(self, axes):
        """The `dtensor.Layout` of a tensor whose dimensions lie on these axes."""
        return dtensor.Layout([axis or dtensor.UNSHARDED for axis in axes], self.mesh)

    def place_batch(self, batch):
        """A batch on the mesh: spread over the batch axis if it divides, else whole everywhere.

        Returns:
            `(batch, bool)`, with whether it is spread.
        """
        parts = [part for part in keras.tree.flatten(batch) if part is not None]
        spread = self.batch_axis is not None and all(
            len(part.shape) > 0 and part.shape[0] % self.sizes[self.batch_axis] == 0
            for part in parts
        )

        def place(part):
            if part is None:
                return None
            axes = [None] * len(part.shape)
            if spread:
                axes[0] = self.batch_axis
            return to_mesh(part, self.layout(axes))

        return keras.tree.map_structure(place, batch), spread

    @contextlib.contextmanager
    def scope(self, spread):
        """Within this context graphs are made for the mesh."""
        with dtensor.default_mesh(self.mesh), placing(_Placement(self, spread)):
            yield


class _Placement:
    """Fulfils the layout hints of layers."""

    def __init__(self, plan, spread):
        self.plan = plan
        self.axes = {GROUP: plan.batch_axis if spread else None, EXPERT: plan.expert_axis}
        self.group_shards = plan.sizes[plan.batch_axis] if spread else 1

    def constrain(self, tensor, dims):
        axes = [None] * len(tensor.shape)
        for dim, name in enumerate(dims):
            axis = self.axes.get(name)
            if axis not in axes:  # an axis can spread one dimension only
                axes[dim] = axis
        return dtensor.relayout(tensor, self.plan.layout(axes))


def build_optimizer(model):
    """Make the optimizer's variables now: later, weights to load would find them off the mesh."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)


def reindex_optimizer(model):
    """Let the optimizer find its variables by their new values, by which Keras numbers them."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is not None and optimizer.built:
        optimizer._trainable_variables_indices = {
            optimizer._var_key(variable): index
            for index, variable in enumerate(optimizer._trainable_variables)
        }
