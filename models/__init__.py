"""Prebuilt mixture-of-experts models, imported as `moe_zoo.models`."""

if __name__ == "models":  # a second copy of every class would be registered with Keras
    raise ImportError(
        "Expected this folder to be imported as `moe_zoo.models`. Received: __name__='models'. "
        "Write `from moe_zoo.models import ...` instead of `import models`."
    )

from moe_zoo.models.endpoints import language_model_endpoints
from moe_zoo.models.generation import generate
from moe_zoo.models.lstm_language_model import LSTMLanguageModel, dense_block, mixture_block
from moe_zoo.models.multi_task_recommender import MultiTaskRecommender
from moe_zoo.models.onnx_export import export_onnx
from moe_zoo.models.parameters import count_core_parameters
from moe_zoo.models.presets import LSTM_LANGUAGE_MODELS, find_preset
from moe_zoo.models.recommender_core import RecommenderCore
from moe_zoo.models.recommender_endpoints import recommender_endpoints

__all__ = [
    "LSTM_LANGUAGE_MODELS",
    "LSTMLanguageModel",
    "MultiTaskRecommender",
    "RecommenderCore",
    "count_core_parameters",
    "dense_block",
    "export_onnx",
    "find_preset",
    "generate",
    "language_model_endpoints",
    "mixture_block",
    "recommender_endpoints",
]
