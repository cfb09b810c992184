"""`moe-zoo train classifier`."""

from moe_zoo.training.classifier.settings import ClassifierSettings
from moe_zoo.training.transformer_settings import MIXTURES

from .options import (
    add_compare,
    add_mesh,
    add_run,
    add_settings,
    make_plan,
    read_names,
    read_settings,
)


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
    settings = read_settings(options, ClassifierSettings)
    routers = read_names(settings.router, options.compare, MIXTURES, "routers")
    plan = make_plan(options)  # first of all, since it may split the CPU
    from moe_zoo.training.classifier.run import ClassifierRun

    run = ClassifierRun(
        settings, routers, options.output, options.logs, progress=not options.quiet, plan=plan
    )
    model, row = run.train(routers[0])
    rows = [row, *(run.train(router)[1] for router in routers[1:])]
    run.finish(model, rows)
