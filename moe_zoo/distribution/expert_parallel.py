"""Expert parallelism: a Keras model on a mesh of devices."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.validation import check_positive, shown

from .batches import MeshBatches
from .checks import check_equal_everywhere, check_model
from .cluster import WorkerLostError
from .deferred import deferring
from .environment import check_private_names, guard_against_wrong_numbers
from .layouts import VariableLayout, all_variables, describe_layouts, variable_layouts
from .mesh import describe_axes, make_mesh
from .optimizer import prepare_optimizer, reindex_optimizer
from .sharded_variable import ShardedVariable, mesh_layout, to_mesh
from .training_functions import patch_model, restore_model
from .watchdog import DEFAULT_TIMEOUT, WATCHDOG
from .xla import turn_off_xla


class ExpertParallel:
    """Spread the experts of any Keras model over the devices of a mesh; call `fit` as before.

    Each device holds `E / n` of the experts of every `MoE` layer, and their optimizer's slots;
    everything else is on each of them. A batch is spread over `batch_axis`, each device routes its
    own tokens, and the tokens travel to their experts and back by all-to-all (Lepikhin et al.
    2021).

    Args:
        mesh: Axes and their sizes, `"batch=2,expert=4"`, or a `dtensor.Mesh`.
        batch_axis: Mesh axis over which a batch is spread. `"auto"` is the axis `batch` if the mesh
            has it, else that of the experts, as in GShard; `None` gives each device the whole
            batch.
        expert_axis: Mesh axis of the experts. `"auto"` is the axis `expert`; without it every
            device holds all experts, and only the batch is spread.
        rules: Axes by regular expression, one axis for each dimension, for variables that need
            another layout. The expression is searched for in `variable.path`.
        device_type: `"CPU"` or `"GPU"`; `None` takes the GPUs if there are any.
        collective_timeout: Seconds that a step, a read of a variable, or the first meeting of
            several processes may take; then those that wait end with a message. A step that
            compiles may take at least 600 s.

    Raises:
        ValueError: If the mesh does not have an axis, or the machine does not have the devices.
        RuntimeError: If the environment makes DTensor compute wrong numbers.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import SwitchRouter
    >>> mixture = MoE(SwitchRouter(), FeedForwardExperts(4, 16))
    >>> model = keras.Sequential([keras.Input((8,)), mixture])
    >>> model.compile("adam", "mse")
    >>> with ExpertParallel("expert=1").distributed(model):
    ...     model.predict(tf.ones([3, 8]), verbose=0).shape
    (3, 8)

    Reference: Lepikhin et al., "GShard", ICLR 2021, arXiv 2006.16668.
    """

    def __init__(
        self,
        mesh: str | dtensor.Mesh,
        batch_axis: str | None = "auto",
        expert_axis: str | None = "auto",
        rules: Mapping[str, Sequence[str | None]] | None = None,
        device_type: str | None = None,
        collective_timeout: float = DEFAULT_TIMEOUT,
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
                    f"{name}={shown(axis)}. Name one of them, or None."
                )
        self.batch_axis, self.expert_axis = batch_axis, expert_axis
        self.batches = MeshBatches(self.mesh, batch_axis, expert_axis)
        self.rules = dict(rules or {})

    @contextlib.contextmanager
    def distributed(self, model: keras.Model) -> Iterator["ExpertParallel"]:
        """Distribute a model within a `with` block, and gather it at the end.

        The model may be built and compiled before or within the block. It is gathered after an
        error too, which then propagates; if gathering fails as well, a note on the first error says
        so. After a `WorkerLostError` the model is not gathered, since its values cannot be read
        without the lost process.

        Args:
            model: Any Keras model that is on no mesh.

        Returns:
            A context manager, which gives this object.

        Raises:
            ValueError: If the model is already on a mesh, or the mesh cannot run it.

        Example:

        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
        >>> model.compile("adam", "mse")
        >>> with ExpertParallel("batch=1").distributed(model) as mesh:
        ...     history = model.fit(tf.ones([4, 8]), tf.ones([4, 2]), verbose=0)
        >>> model.save("model.keras")
        """
        if (outer := getattr(model, "expert_parallel", None)) is not None:
            raise ValueError(
                f"Expected a model that is on no mesh. Received: {shown(model.name)}, which is on "
                f"{describe_axes(outer.sizes.items())}. Leave that `with` block first, or call "
                "gather(model)."
            )
        try:
            self.distribute(model)
            yield self
        except WorkerLostError:
            raise
        except BaseException as error:
            try:
                self.gather(model)
            except Exception as second:
                error.add_note(
                    f"Afterwards the model could not be gathered from its mesh: {second}"
                )
            raise
        self.gather(model)

    def distribute(self, model: keras.Model) -> None:
        """Put a model on the mesh, and its optimizer and metrics once they exist.

        Args:
            model: Any Keras model. One that is not built yet is placed at its first batch.

        Raises:
            ValueError: If the mesh cannot run something in the model, which is named, with advice;
                nothing is changed then.
            RuntimeError: If this release of Keras or TensorFlow has moved a name that a mesh needs.

        Warns:
            UserWarning: If `jit_compile="auto"`, the default, has turned XLA on, as on a GPU: it is
                turned off.
        """
        check_private_names("Model", model)
        check_private_names("DVariable", dtensor.DVariable)
        for variable in model.variables[:1]:
            check_private_names("Variable", variable)
        check_model(model, self.expert_axis, self.sizes.get(self.expert_axis, 1))
        self.layouts(model)
        self.gather(model)
        turn_off_xla(model)
        patch_model(model, self)
        if model.built:
            self.place(model)

    def build(self, make: Callable[[], keras.Model]) -> keras.Model:
        """Make a model whose weights are never whole on one device, and distribute it.

        Args:
            make: Function without arguments that returns a model. Compile the model afterwards.

        Returns:
            The model; weights of a given seed are as they would be without a mesh.
        """
        with deferring():
            model = make()
        self.distribute(model)
        return model

    def gather(self, model: keras.Model) -> None:
        """Take a model off its mesh, for export or another mesh: its variables are plain again.

        Args:
            model: A Keras model, on a mesh or not.
        """
        for variable in all_variables(model):
            if isinstance(variable._value, ShardedVariable):
                variable._value = tf.Variable(
                    variable._value.numpy(), trainable=variable.trainable, name=variable.name
                )
        reindex_optimizer(model)
        restore_model(model)

    def layouts(self, model: keras.Model) -> list[VariableLayout]:
        """Return where each variable of a model lies, or will lie.

        Args:
            model: A Keras model.
        """
        return variable_layouts(model, self.sizes, self.expert_axis, self.rules)

    def describe(self, model: keras.Model, whole: bool = True) -> str:
        """Return the layouts as a table: each variable, its axes, its bytes on a device and in all.

        Args:
            model: A Keras model.
            whole: Whether to list variables of which every device holds a whole copy.
        """
        return describe_layouts(self.layouts(model), describe_axes(self.sizes.items()), whole)

    def place(self, model: keras.Model) -> None:
        """Move the variables that are not on the mesh yet, one at a time.

        Args:
            model: A Keras model.
        """
        prepare_optimizer(model)
        missing = [
            (variable, mesh_layout(self.mesh, axes))
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
