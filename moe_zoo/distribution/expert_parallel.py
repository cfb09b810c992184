"""Expert parallelism: a Keras model on a mesh of devices."""

import contextlib
import functools

import keras
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.constrain import BESIDE, EXPERT, GROUP, placing
from moe_zoo.validation import check_positive, shown

from .checks import check_equal_everywhere, check_model
from .deferred import deferring
from .layouts import all_variables, describe_layouts, variable_layouts
from .mesh import describe_axes, guard_against_wrong_numbers, make_mesh
from .sharded_variable import ShardedVariable, to_mesh
from .training_functions import apply_dense, give_back, take_over
from .watchdog import DEFAULT_TIMEOUT, WATCHDOG
from .xla import turn_off_xla


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
        seconds = check_positive(
            "collective_timeout", collective_timeout, "Give the seconds of the slowest step."
        )
        guard_against_wrong_numbers()
        WATCHDOG.seconds = seconds
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
                    f"{name}={shown(axis)}."
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

        Warns:
            UserWarning: `jit_compile="auto"`, the default, has turned XLA on, as on a GPU: it is
                turned off.
        """
        check_model(model, self.expert_axis, self.sizes.get(self.expert_axis, 1))
        self.layouts(model)
        self.gather(model)
        turn_off_xla(model)
        take_over(model, self)
        if model.built:
            self.place(model)

    def build(self, make):
        """Make a model whose weights never stand whole on one device, and distribute it.

        Args:
            make: function without arguments that returns a model. Compile it afterwards.

        Returns:
            The model; weights of a given seed are as they would be without a mesh.
        """
        with deferring():
            model = make()
        self.distribute(model)
        return model

    def gather(self, model):
        """Take a model off its mesh: plain variables again, for export or another mesh."""
        for variable in all_variables(model):
            if isinstance(variable._value, ShardedVariable):
                variable._value = tf.Variable(
                    variable._value.numpy(), trainable=variable.trainable, name=variable.name
                )
        reindex_optimizer(model)
        give_back(model)

    def layouts(self, model):
        """Where each variable of a model lies, or will lie: a list of `VariableLayout`."""
        return variable_layouts(model, self.sizes, self.expert_axis, self.rules)

    def describe(self, model, whole=True):
        """The layouts as a table: every variable, its axes, its bytes on one device and in all.

        Args:
            model: a Keras model.
            whole: `bool`; else only what is spread, and the sums.
        """
        return describe_layouts(self.layouts(model), describe_axes(self.sizes.items()), whole)

    def place(self, model):
        """Move the variables that are not on the mesh yet, one at a time."""
        prepare_optimizer(model)
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

    def check_batch(self, batch):
        """Refuse a batch that the batch axis does not divide, as the first one of a training."""
        rows = _rows(batch)
        if self.batch_axis is not None and rows % self.sizes[self.batch_axis]:
            raise ValueError(
                f"Expected a batch that the mesh axis {self.batch_axis}="
                f"{self.sizes[self.batch_axis]} divides. Received: a batch of {rows}. Change the "
                "batch size; only the last batch of an epoch may be smaller."
            )

    def place_batch(self, batch, spread=True):
        """A batch on the mesh: spread over the batch axis if it divides, else whole everywhere.

        Args:
            batch: nested arrays and `None`.
            spread: `bool`, false for whole everywhere.

        Returns:
            `(batch, bool)`, with whether it is spread.
        """
        if spread:
            axis = self.batch_axis
            spread = axis is not None and _rows(batch) % self.sizes[axis] == 0

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
        group = plan.batch_axis if spread else None
        beside = None if group == plan.expert_axis else group
        self.axes = {GROUP: group, EXPERT: plan.expert_axis, BESIDE: beside}
        self.group_shards = plan.sizes[plan.batch_axis] if spread else 1

    def constrain(self, tensor, dims):
        axes = [None] * len(tensor.shape)
        for dim, name in enumerate(dims):
            axis = self.axes.get(name)
            if axis not in axes:  # an axis can spread one dimension only
                axes[dim] = axis
        return dtensor.relayout(tensor, self.plan.layout(axes))


def _rows(batch):
    """The number of rows of a batch."""
    return next(part.shape[0] for part in keras.tree.flatten(batch) if part is not None)


def prepare_optimizer(model):
    """Make the optimizer's slots, and have it take the gradients of embeddings as whole tensors."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not model.built:
        return
    if getattr(getattr(optimizer, "inner_optimizer", optimizer), "sparse_gradients", False):
        raise ValueError(
            "Expected an optimizer for dense gradients, as those on a mesh are. Received: "
            f"optimizer={optimizer.name}. Use keras.optimizers.Adam there."
        )
    if not optimizer.built:
        with deferring():
            optimizer.build(model.trainable_variables)
    optimizer.apply = functools.partial(apply_dense, optimizer)


def reindex_optimizer(model):
    """Let the optimizer find its variables by their new values, by which Keras numbers them."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is not None and optimizer.built:
        optimizer._trainable_variables_indices = {
            optimizer._var_key(variable): index
            for index, variable in enumerate(optimizer._trainable_variables)
        }
