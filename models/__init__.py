"""Prebuilt mixture-of-experts models, imported as `moe_zoo.models`."""

if __name__ == "models":  # a second copy of every class would be registered with Keras
    raise ImportError(
        "Expected this folder to be imported as `moe_zoo.models`. Received: __name__='models'. "
        "Write `from moe_zoo.models import ...` instead of `import models`."
    )

from typing import TYPE_CHECKING

from moe_zoo._lazy import lazy_names

if TYPE_CHECKING:
    from .decoding.beam_search import beam_search
    from .decoding.generation import generate
    from .parameters import Parameters, count_core_parameters, count_parameters
    from .presets import LSTM_LANGUAGE_MODELS, find_preset
    from .recommender.core import RecommenderCore
    from .recommender.multi_task_recommender import MultiTaskRecommender
    from .text.lstm_blocks import dense_block, mixture_block
    from .text.lstm_language_model import LSTMLanguageModel
    from .text.transformer_classifier import Classified, TransformerClassifier
    from .text.transformer_language_model import TransformerLanguageModel
    from .text.transformer_seq2seq import TransformerSeq2Seq
    from .tokenizers.sentencepiece_tokenizer import (
        SentencepieceTokenizer,
        check_t5_vocabulary,
    )
    from .tokenizers.tokenizer import Tokenizer, train_vocabulary
    from .transformer.presets import (
        TRANSFORMER_CLASSIFIERS,
        TRANSFORMER_LANGUAGE_MODELS,
        TRANSFORMER_SEQ2SEQS,
    )

__all__ = [
    "LSTM_LANGUAGE_MODELS",
    "TRANSFORMER_CLASSIFIERS",
    "TRANSFORMER_LANGUAGE_MODELS",
    "TRANSFORMER_SEQ2SEQS",
    "Classified",
    "LSTMLanguageModel",
    "MultiTaskRecommender",
    "Parameters",
    "RecommenderCore",
    "SentencepieceTokenizer",
    "Tokenizer",
    "TransformerClassifier",
    "TransformerLanguageModel",
    "TransformerSeq2Seq",
    "beam_search",
    "check_t5_vocabulary",
    "count_core_parameters",
    "count_parameters",
    "dense_block",
    "find_preset",
    "generate",
    "mixture_block",
    "train_vocabulary",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "decoding.beam_search": ["beam_search"],
        "decoding.generation": ["generate"],
        "parameters": ["Parameters", "count_core_parameters", "count_parameters"],
        "presets": ["LSTM_LANGUAGE_MODELS", "find_preset"],
        "recommender.core": ["RecommenderCore"],
        "recommender.multi_task_recommender": ["MultiTaskRecommender"],
        "text.lstm_blocks": ["dense_block", "mixture_block"],
        "text.lstm_language_model": ["LSTMLanguageModel"],
        "text.transformer_classifier": ["Classified", "TransformerClassifier"],
        "text.transformer_language_model": ["TransformerLanguageModel"],
        "text.transformer_seq2seq": ["TransformerSeq2Seq"],
        "tokenizers.sentencepiece_tokenizer": ["SentencepieceTokenizer", "check_t5_vocabulary"],
        "tokenizers.tokenizer": ["Tokenizer", "train_vocabulary"],
        "transformer.presets": [
            "TRANSFORMER_CLASSIFIERS",
            "TRANSFORMER_LANGUAGE_MODELS",
            "TRANSFORMER_SEQ2SEQS",
        ],
    },
)
