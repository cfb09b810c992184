"""Functional models of ids that their configuration rebuilds, and nothing else."""

import keras

from moe_zoo.models.checks import as_ids
from moe_zoo.models.one_replica import BuiltFromOneReplica
from moe_zoo.validation import shown


class WholeModel(BuiltFromOneReplica, keras.Model):
    """A functional model with methods and a configuration of its own, which is copied as a whole.

    Its inputs are ids.

    Raises:
        ValueError: If layers are replaced one by one, as `keras.models.clone_model` does: the copy
            would be a plain functional model, without what the class adds.
    """

    def _run_through_graph(self, inputs, operation_fn=lambda operation: operation, call_fn=None):
        def checked(operation):
            used = operation_fn(operation)
            if isinstance(used, keras.layers.Layer) and used is not operation:
                name = type(self).__name__
                raise ValueError(
                    f"Expected a {name} to be copied as a whole. Received: {shown(self.name)} "
                    "layer by layer, as keras.models.clone_model does, which would give a plain "
                    f"functional model. Use {name}.from_config(model.get_config()) for a model "
                    "with new weights, copy.deepcopy(model) for one with the same."
                )
            return used

        return super()._run_through_graph(inputs, checked, call_fn)

    def _convert_inputs_to_tensors(self, flat_inputs):
        ids = [x if x is None else as_ids(x) for x in flat_inputs]
        return super()._convert_inputs_to_tensors(ids)
