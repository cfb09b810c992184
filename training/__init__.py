"""Training: batches, losses, optimizers, recipes and runs, imported as `moe_zoo.training`."""

if __name__ == "training":  # a second copy of every class would be registered with Keras
    raise ImportError(
        "Expected this folder to be imported as `moe_zoo.training`. Received: __name__='training'. "
        "Write `from moe_zoo.training import ...` instead of `import training`."
    )

from typing import TYPE_CHECKING

from moe_zoo._lazy import lazy_names

if TYPE_CHECKING:
    from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary

    from .optim.lazy_adam import LazyAdam
    from .optim.losses import Perplexity, SmoothedCrossEntropy, smoothed_cross_entropy
    from .optim.optimizers import FactoredAdam
    from .optim.schedules import WarmupInverseSquareRoot
    from .recipes.classifier.dataset import classifier_batches, encode_examples
    from .recipes.classifier.labelled_text import read_labelled_text
    from .recipes.classifier.recipe import ClassifierRecipe
    from .recipes.classifier.settings import ClassifierSettings
    from .recipes.lstm_lm.recipe import LSTMRecipe
    from .recipes.lstm_lm.settings import LSTMSettings
    from .recipes.recommender.recipe import RecommenderRecipe
    from .recipes.recommender.settings import RecommenderSettings
    from .recipes.transformer_lm.recipe import TransformerLMRecipe
    from .recipes.transformer_lm.settings import TransformerLMSettings
    from .recipes.translation.bleu import corpus_bleu
    from .recipes.translation.dataset import encode_pairs, translation_batches
    from .recipes.translation.parallel_text import read_parallel_text
    from .recipes.translation.recipe import TranslationRecipe
    from .recipes.translation.settings import TranslationSettings
    from .runs.recipe import Recipe
    from .runs.run import Run
    from .text.batch_sampler import BatchSampler
    from .text.corpus import read_corpus
    from .text.text_dataset import encode_documents, evaluation_batches, language_model_batches

__all__ = [
    "BatchSampler",
    "ClassifierRecipe",
    "ClassifierSettings",
    "FactoredAdam",
    "LSTMRecipe",
    "LSTMSettings",
    "LazyAdam",
    "Perplexity",
    "Recipe",
    "RecommenderRecipe",
    "RecommenderSettings",
    "Run",
    "SmoothedCrossEntropy",
    "Tokenizer",
    "TransformerLMRecipe",
    "TransformerLMSettings",
    "TranslationRecipe",
    "TranslationSettings",
    "WarmupInverseSquareRoot",
    "classifier_batches",
    "corpus_bleu",
    "encode_documents",
    "encode_examples",
    "encode_pairs",
    "evaluation_batches",
    "language_model_batches",
    "read_corpus",
    "read_labelled_text",
    "read_parallel_text",
    "smoothed_cross_entropy",
    "train_vocabulary",
    "translation_batches",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".models.tokenizers.tokenizer": ("Tokenizer", "train_vocabulary"),
        "optim.lazy_adam": ("LazyAdam",),
        "optim.losses": ("Perplexity", "SmoothedCrossEntropy", "smoothed_cross_entropy"),
        "optim.optimizers": ("FactoredAdam",),
        "optim.schedules": ("WarmupInverseSquareRoot",),
        "recipes.classifier.dataset": ("classifier_batches", "encode_examples"),
        "recipes.classifier.labelled_text": ("read_labelled_text",),
        "recipes.classifier.recipe": ("ClassifierRecipe",),
        "recipes.classifier.settings": ("ClassifierSettings",),
        "recipes.lstm_lm.recipe": ("LSTMRecipe",),
        "recipes.lstm_lm.settings": ("LSTMSettings",),
        "recipes.recommender.recipe": ("RecommenderRecipe",),
        "recipes.recommender.settings": ("RecommenderSettings",),
        "recipes.transformer_lm.recipe": ("TransformerLMRecipe",),
        "recipes.transformer_lm.settings": ("TransformerLMSettings",),
        "recipes.translation.bleu": ("corpus_bleu",),
        "recipes.translation.dataset": ("encode_pairs", "translation_batches"),
        "recipes.translation.parallel_text": ("read_parallel_text",),
        "recipes.translation.recipe": ("TranslationRecipe",),
        "recipes.translation.settings": ("TranslationSettings",),
        "runs.recipe": ("Recipe",),
        "runs.run": ("Run",),
        "text.batch_sampler": ("BatchSampler",),
        "text.corpus": ("read_corpus",),
        "text.text_dataset": (
            "encode_documents",
            "evaluation_batches",
            "language_model_batches",
        ),
    },
)
