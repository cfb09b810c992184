"""Prebuilt mixture-of-experts models, imported as `moe_zoo.models`."""

if __name__ == "models":  # a second copy of every class would be registered with Keras
    raise ImportError(
        "Expected this folder to be imported as `moe_zoo.models`. Received: __name__='models'. "
        "Write `from moe_zoo.models import ...` instead of `import models`."
    )

from moe_zoo.models.beam_search import beam_search
from moe_zoo.models.classifier_endpoints import classifier_endpoints
from moe_zoo.models.endpoints import language_model_endpoints
from moe_zoo.models.generation import generate
from moe_zoo.models.huggingface import from_huggingface, save_huggingface
from moe_zoo.models.litert_export import export_litert
from moe_zoo.models.lstm_language_model import LSTMLanguageModel, dense_block, mixture_block
from moe_zoo.models.multi_task_recommender import MultiTaskRecommender
from moe_zoo.models.onnx_export import export_onnx
from moe_zoo.models.parameters import Parameters, count_core_parameters, count_parameters
from moe_zoo.models.presets import LSTM_LANGUAGE_MODELS, find_preset
from moe_zoo.models.recommender_core import RecommenderCore
from moe_zoo.models.recommender_endpoints import recommender_endpoints
from moe_zoo.models.sentencepiece_tokenizer import SentencepieceTokenizer, check_t5_vocabulary
from moe_zoo.models.seq2seq_endpoints import seq2seq_endpoints
from moe_zoo.models.transformer.presets import (
    TRANSFORMER_CLASSIFIERS,
    TRANSFORMER_LANGUAGE_MODELS,
    TRANSFORMER_SEQ2SEQS,
)
from moe_zoo.models.transformer_classifier import TransformerClassifier
from moe_zoo.models.transformer_language_model import TransformerLanguageModel
from moe_zoo.models.transformer_seq2seq import TransformerSeq2Seq

__all__ = [
    "LSTM_LANGUAGE_MODELS",
    "TRANSFORMER_CLASSIFIERS",
    "TRANSFORMER_LANGUAGE_MODELS",
    "TRANSFORMER_SEQ2SEQS",
    "LSTMLanguageModel",
    "MultiTaskRecommender",
    "Parameters",
    "RecommenderCore",
    "SentencepieceTokenizer",
    "TransformerClassifier",
    "TransformerLanguageModel",
    "TransformerSeq2Seq",
    "beam_search",
    "check_t5_vocabulary",
    "classifier_endpoints",
    "count_core_parameters",
    "count_parameters",
    "dense_block",
    "export_litert",
    "export_onnx",
    "find_preset",
    "from_huggingface",
    "generate",
    "language_model_endpoints",
    "mixture_block",
    "recommender_endpoints",
    "save_huggingface",
    "seq2seq_endpoints",
]
