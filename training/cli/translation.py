"""`moe-zoo train translation`."""

from moe_zoo.training.recipes.transformer_settings import MIXTURES
from moe_zoo.training.recipes.translation.settings import TranslationSettings

from .options import add_compare, add_mesh, add_run, add_settings, read_settings, train_and_compare


def add_translation(recipes):
    """The options of `moe-zoo train translation`."""
    parser = recipes.add_parser(
        "translation",
        help="encoder-decoder Transformer with mixtures of experts (Fedus et al. 2022)",
        description="Train a translation model on parallel text, beside models with other routers "
        "or none, compare their BLEU on the test part, export the first one as a SavedModel that "
        "translates, and let a fresh process do so. The same command goes on where an earlier one "
        "was stopped. --data is a folder of train, test and perhaps val files, as train.en and "
        "train.de or train.tsv, gzipped or not, or a single tab-separated file.",
    )
    add_settings(parser, TranslationSettings)
    add_compare(add_run(parser, "runs/translation"), "routers", "ROUTER", MIXTURES)
    add_mesh(parser)
    parser.set_defaults(run=run_train_translation, goes_on=True)


def run_train_translation(options):
    """Train, translate, compare, export."""
    from moe_zoo.training.recipes.translation.run import TranslationRun

    if options.data is None:
        raise ValueError(
            "Expected parallel text. Received: no --data. Give a folder with train.en, train.de, "
            "test.en and test.de, or a file of sentence<TAB>translation."
        )
    train_and_compare(TranslationRun, options, read_settings(options, TranslationSettings))
