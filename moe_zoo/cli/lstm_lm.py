"""`moe-zoo train lstm_lm`."""

from moe_zoo.training.lstm_settings import LSTMSettings

from .options import add_mesh, add_settings, make_plan, read_settings

DEFAULT_PROMPTS = ("def read(self", "class Test", "    Return the")


def add_lstm_lm(recipes):
    """The options of `moe-zoo train lstm_lm`: the settings of the recipe, and where things go."""
    parser = recipes.add_parser(
        "lstm_lm",
        help="LSTM language model with a mixture of experts (Shazeer et al. 2017)",
        description="Train an LSTM language model with a mixture of experts, evaluate it, export "
        "it as a SavedModel, and let a fresh process generate text. The same command goes on where "
        "an earlier one was stopped.",
    )
    add_settings(parser, LSTMSettings)
    run = parser.add_argument_group("run")
    run.add_argument(
        "--compare",
        action="store_true",
        help="train the dense twin too: as many products per token",
    )
    run.add_argument(
        "--output",
        default="runs/lstm_lm",
        metavar="DIR",
        help="folder of the run (default runs/lstm_lm)",
    )
    run.add_argument(
        "--logs", metavar="DIR", help="TensorBoard logs (default: in the run's folder)"
    )
    run.add_argument(
        "--prompt", action="append", help="text to continue at the end; may be repeated"
    )
    run.add_argument("--quiet", action="store_true", help="no progress bars")
    add_mesh(
        parser,
        " Routing then has a capacity: 1.25 in training unless --capacity-factor says otherwise, "
        "2.0 in evaluation.",
    )
    parser.set_defaults(run=run_train_lstm_lm, goes_on=True)


def run_train_lstm_lm(options):
    """Train, evaluate, export, generate."""
    from moe_zoo.training.language_model_run import LanguageModelRun
    from moe_zoo.training.lstm_lm import check_settings

    settings = read_settings(options, LSTMSettings)
    plan = make_plan(options)  # first of all, since it may split the CPU
    check_settings(settings, compare=options.compare)
    run = LanguageModelRun(
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
