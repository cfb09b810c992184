"""moe-zoo: mixture-of-experts layers, models and training recipes for Keras 3 on TensorFlow.

Every public name is here: `import moe_zoo`, then `moe_zoo.MoE` or `moe_zoo.layers.MoE`. Names are
imported on first use, since TensorFlow takes seconds to import.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

_here = Path(__file__).parent
if not (_here / "models").is_dir():  # source checkout: models/ and training/ stand beside us
    __path__.append(str(_here.parent))

from moe_zoo._backend import require_tensorflow_backend  # noqa: E402  (needs the path above)
from moe_zoo._lazy import lazy_names  # noqa: E402

if TYPE_CHECKING:
    from . import analysis as analysis
    from . import distribution as distribution
    from . import experts as experts
    from . import export as export
    from . import gates as gates
    from . import layers as layers
    from . import losses as losses
    from . import models as models
    from . import plans as plans
    from . import routers as routers
    from . import tensorboard as tensorboard
    from . import training as training
    from .analysis import *
    from .distribution import *
    from .experts import *
    from .export import *
    from .gates import *
    from .layers import *
    from .loading import load_model as load_model
    from .losses import balance_loss as balance_loss
    from .losses import cv_squared as cv_squared
    from .losses import importance_loss as importance_loss
    from .losses import load_loss as load_loss
    from .losses import selection_probability as selection_probability
    from .losses import z_loss as z_loss
    from .models import *
    from .models.recommender.features import *
    from .models.recommender.tasks import *
    from .plans import *
    from .recomputing import recompute as recompute
    from .routers import *
    from .scopes import record_plans as record_plans
    from .stats import RoutingStats as RoutingStats
    from .stats import routing_stats as routing_stats
    from .tensorboard import *

__version__ = "0.2.0.dev0"

# TensorBoard loads the plugins of all packages, whatever Keras runs on there; ours needs no Keras.
if "tensorboard.default" not in sys.modules:
    require_tensorflow_backend()

SUBMODULES = [
    "analysis",
    "distribution",
    "experts",
    "export",
    "gates",
    "layers",
    "losses",
    "models",
    "plans",
    "routers",
    "tensorboard",
    "training",
]
NAMES = {
    "analysis": [
        "Information",
        "RoutedTokens",
        "count_labels",
        "mutual_information",
        "routed_tokens",
        "top_labels",
    ],
    "distribution": [
        "Estimate",
        "ExpertParallel",
        "WorkerLostError",
        "estimate",
        "is_writer",
        "smallest_mesh",
        "virtual_devices",
    ],
    "experts": [
        "Experts",
        "FeedForwardExperts",
        "GatedExperts",
        "HeterogeneousExperts",
        "HiddenLayerExperts",
        "MLPExperts",
    ],
    "export": [
        "ServedModel",
        "check_new_or_saved_model",
        "endpoint",
        "export_litert",
        "export_onnx",
        "export_saved_model",
        "load_served",
        "serving_mode",
    ],
    "gates": ["DSelectKGate", "Gate", "Gates", "NoisyTopKGate", "SoftmaxGate"],
    "layers": [
        "CGC",
        "CrossStitch",
        "MMoE",
        "MoE",
        "PLE",
        "SharedBottom",
        "SingleTask",
        "TaskMixing",
    ],
    "loading": ["load_model"],
    "losses": [
        "balance_loss",
        "cv_squared",
        "importance_loss",
        "load_loss",
        "selection_probability",
        "z_loss",
    ],
    "models": [
        "Classified",
        "LSTMLanguageModel",
        "LSTM_LANGUAGE_MODELS",
        "MultiTaskRecommender",
        "Parameters",
        "RecommenderCore",
        "SentencepieceTokenizer",
        "TRANSFORMER_CLASSIFIERS",
        "TRANSFORMER_LANGUAGE_MODELS",
        "TRANSFORMER_SEQ2SEQS",
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
    ],
    "models.recommender.features": [
        "Buckets",
        "Category",
        "Feature",
        "FeatureEncoder",
        "Hashed",
        "ListOf",
        "Number",
        "RowEmbedding",
        "make_feature",
    ],
    "models.recommender.tasks": [
        "BinaryTask",
        "ClassTask",
        "ProductTask",
        "RegressionTask",
        "Task",
    ],
    "plans": [
        "DensePlan",
        "DroplessPlan",
        "EveryRow",
        "Layout",
        "Plan",
        "RoutingPlan",
        "Slots",
        "SortedRows",
        "expert_capacity",
        "plan_dropless",
        "plan_with_capacity",
    ],
    "recomputing": ["recompute"],
    "routers": [
        "Choices",
        "GShardRouter",
        "NoisyTopKRouter",
        "Router",
        "SoftmaxRouter",
        "SwitchRouter",
        "TokenChoiceRouter",
    ],
    "scopes": ["record_plans"],
    "stats": ["RoutingStats", "routing_stats"],
    "tensorboard": ["RoutedExamples", "RoutingBounds", "RoutingCallback"],
}

__all__ = [*SUBMODULES, *(name for names in NAMES.values() for name in names)]
if not TYPE_CHECKING:  # else a checker would take any name for one of these
    __getattr__, __dir__ = lazy_names(__name__, NAMES, SUBMODULES)
