"""Export: models that run without this library, and how to call them."""

from .litert import export_litert
from .onnx import export_onnx
from .saved_model import check_new_or_saved_model, endpoint, export_saved_model, serving_mode
from .served_model import ServedModel, load_served

__all__ = [
    "ServedModel",
    "check_new_or_saved_model",
    "endpoint",
    "export_litert",
    "export_onnx",
    "export_saved_model",
    "load_served",
    "serving_mode",
]
