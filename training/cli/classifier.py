"""`moe-zoo train classifier`."""

from moe_zoo.training.recipes.classifier.settings import ClassifierSettings
from moe_zoo.training.recipes.transformer_settings import MIXTURES

from .options import add_compare, add_mesh, add_run, add_settings, read_settings, train_and_compare


def add_classifier(recipes):
    """The options of `moe-zoo train classifier`."""
    parser = recipes.add_parser(
        "classifier",
        help="Transformer encoder with mixtures of experts that labels texts",
        description="Train a classifier of texts, beside models with other routers or none, "
        "compare them on the test part, export the first one as a SavedModel that labels texts, "
        "and let a fresh process do so. The same command goes on where an earlier one was stopped. "
        "Without --data it learns which module of Python's library a docstring belongs to.",
    )
    add_settings(parser, ClassifierSettings)
    add_compare(add_run(parser, "runs/classifier"), "routers", "ROUTER", MIXTURES)
    add_mesh(parser)
    parser.set_defaults(run=run_train_classifier, goes_on=True)


def run_train_classifier(options):
    """Train, compare, export."""
    from moe_zoo.training.recipes.classifier.run import ClassifierRun

    train_and_compare(ClassifierRun, options, read_settings(options, ClassifierSettings))
