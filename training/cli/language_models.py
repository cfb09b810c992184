"""`moe-zoo train lstm_lm` and `moe-zoo train transformer_lm`."""

from moe_zoo.training.recipes.lstm_lm.settings import LSTMSettings
from moe_zoo.training.recipes.transformer_lm.settings import TransformerLMSettings

from .options import add_mesh, add_run, add_settings, make_plan, read_settings
from .parser import unicode_text

DEFAULT_PROMPTS = ("def read(self", "class Test", "    Return the")
AFTER = (
    "with a mixture of experts, evaluate it, export it as a SavedModel, and let a fresh process "
    "generate text. The same command goes on where an earlier one was stopped."
)
ON_MESH = (
    " Routing then has a capacity: 1.25 in training unless --capacity-factor says otherwise, 2.0 "
    "in evaluation."
)


def add_language_models(recipes):
    """The options of both commands: the settings of the recipe, and where things go."""
    lstm = recipes.add_parser(
        "lstm_lm",
        help="LSTM language model with a mixture of experts (Shazeer et al. 2017)",
        description=f"Train an LSTM language model {AFTER}",
    )
    _add_options(lstm, LSTMSettings, "lstm_lm")
    lstm.set_defaults(run=run_train_lstm_lm)
    transformer = recipes.add_parser(
        "transformer_lm",
        help="Transformer language model with mixtures of experts (Fedus et al. 2022)",
        description=f"Train a decoder-only Transformer {AFTER}",
    )
    _add_options(transformer, TransformerLMSettings, "transformer_lm")
    transformer.set_defaults(run=run_train_transformer_lm)


def _add_options(parser, settings, name):
    add_settings(parser, settings)
    run = add_run(parser, f"runs/{name}")
    run.add_argument(
        "--compare",
        action="store_true",
        help="train the dense twin too: as many products per token",
    )
    run.add_argument(
        "--prompt",
        type=unicode_text,
        action="append",
        help="text to continue at the end; may be repeated",
    )
    add_mesh(parser, ON_MESH)
    parser.set_defaults(goes_on=True)


def run_train_lstm_lm(options):
    """Train, evaluate, export, generate."""
    from moe_zoo.training.recipes.lstm_lm.recipe import LSTM_LM

    _run(LSTM_LM, read_settings(options, LSTMSettings), options)


def run_train_transformer_lm(options):
    """Train, evaluate, export, generate."""
    from moe_zoo.training.recipes.transformer_lm.recipe import TRANSFORMER_LM

    _run(TRANSFORMER_LM, read_settings(options, TransformerLMSettings), options)


def _run(recipe, settings, options):
    from moe_zoo.training.recipes.language_model_run import LanguageModelRun

    plan = make_plan(options)  # first of all, since it may split the CPU
    recipe.check_settings(settings, compare=options.compare)
    run = LanguageModelRun(
        recipe,
        settings,
        options.output,
        logs=options.logs,
        progress=not options.quiet,
        plan=plan,
    )
    model, row = run.train()
    rows = [row]
    if options.compare:
        rows.append(run.train(dense=True)[1])
    run.finish(model, rows, options.prompt or DEFAULT_PROMPTS)
