"""Functional models of ids that their configuration rebuilds, and nothing else."""

import keras

from moe_zoo.models.checks import as_ids
from moe_zoo.models.one_replica import BuiltFromOneReplica
from moe_zoo.models.some_batches import SomeBatches
from moe_zoo.validation import shown


class WholeModel(SomeBatches, BuiltFromOneReplica, keras.Model):
    """A functional model with methods and a configuration of its own, which is copied as a whole.

    Its inputs are ids.

    Raises:
        ValueError: If it is copied layer by layer, as `keras.models.clone_model` does, whatever it
            is given: the copy would be a plain functional model, without what the class adds.
    """

    def _run_through_graph(self, inputs, operation_fn=lambda operation: operation, call_fn=None):
        # Of those who run through the graph only `clone_model` makes another model of what it gets.
        if getattr(operation_fn, "__module__", None) == keras.models.clone_model.__module__:
            name = type(self).__name__
            raise ValueError(
                f"Expected a {name} to be copied as a whole. Received: {shown(self.name)} "
                "layer by layer, as keras.models.clone_model does, which would give a plain "
                f"functional model. Use {name}.from_config(model.get_config()) for a model "
                "with new weights, copy.deepcopy(model) for one with the same, or "
                "keras.Model(model.inputs, outputs) for one of its layers."
            )
        return super()._run_through_graph(inputs, operation_fn, call_fn)

    def _convert_inputs_to_tensors(self, flat_inputs):
        ids = [x if x is None else as_ids(x) for x in flat_inputs]
        return super()._convert_inputs_to_tensors(ids)
