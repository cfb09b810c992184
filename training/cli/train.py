"""`moe-zoo train`: a subcommand for each recipe, made from its settings."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from moe_zoo.training.recipes.classifier.settings import ClassifierSettings
from moe_zoo.training.recipes.lstm_lm.settings import LSTMSettings
from moe_zoo.training.recipes.recommender.settings import RecommenderSettings
from moe_zoo.training.recipes.routers import ROUTERS_OR_DENSE
from moe_zoo.training.recipes.settings import Settings
from moe_zoo.training.recipes.transformer_lm.settings import TransformerLMSettings
from moe_zoo.training.recipes.translation.settings import TranslationSettings

from .options import (
    add_compare,
    add_mesh,
    add_run,
    add_settings,
    make_mesh,
    read_names,
    read_settings,
)
from .parser import unicode_text
from .recommender import add_recommender_options, default_output, read_recommender_options

if TYPE_CHECKING:
    from moe_zoo.training import Recipe

CAPACITY_ON_MESH = (
    " Routing then has a capacity: 1.25 in training unless --capacity-factor says otherwise, 2.0 "
    "in evaluation."
)


def add_language_model_options(parser: argparse._ArgumentGroup) -> None:
    """Add the options of both language models."""
    parser.add_argument(
        "--compare", action="store_true", help="also train the FLOP-matched dense baseline"
    )
    parser.add_argument(
        "--prompt",
        type=unicode_text,
        action="append",
        help="text to continue at the end; may be repeated",
    )


def read_language_model_options(options: argparse.Namespace, settings: Settings) -> dict:
    """Read what a language model's recipe takes besides its settings."""
    prompts = {"prompts": options.prompt} if options.prompt else {}
    return {"compare": options.compare, **prompts}


def add_router_options(parser: argparse._ArgumentGroup) -> None:
    """Add the options of recipes that compare routers."""
    add_compare(parser, "routers", "ROUTER", ROUTERS_OR_DENSE)


def read_router_options(options: argparse.Namespace, settings: Any) -> dict:
    """Read what such a recipe takes besides its settings."""
    routers = read_names(settings.router, options.compare, ROUTERS_OR_DENSE, "routers")
    return {"routers": routers}


class TrainCommand(NamedTuple):
    """What differs between the subcommands.

    Attributes:
        settings: Settings of the recipe; each field becomes an option.
        recipe: Name of the recipe's class in `moe_zoo.training`.
        add_options: Adds further options.
        read_options: Reads them as arguments of the recipe.
        mesh_note: Further help on meshes.
    """

    settings: type[Settings]
    recipe: str
    add_options: Callable[[argparse._ArgumentGroup], None]
    read_options: Callable[[argparse.Namespace, Any], dict]
    mesh_note: str = CAPACITY_ON_MESH

    def make_recipe(self, options: argparse.Namespace) -> "Recipe":
        """Make the recipe that the options describe."""
        from moe_zoo import training

        settings = read_settings(options, self.settings)
        return getattr(training, self.recipe)(settings, **self.read_options(options, settings))


LANGUAGE_MODEL = add_language_model_options, read_language_model_options
ROUTERS = add_router_options, read_router_options
RECOMMENDER = add_recommender_options, read_recommender_options
COMMANDS = {
    "lstm_lm": TrainCommand(LSTMSettings, "LSTMRecipe", *LANGUAGE_MODEL),
    "transformer_lm": TrainCommand(TransformerLMSettings, "TransformerLMRecipe", *LANGUAGE_MODEL),
    "translation": TrainCommand(TranslationSettings, "TranslationRecipe", *ROUTERS),
    "classifier": TrainCommand(ClassifierSettings, "ClassifierRecipe", *ROUTERS),
    "recommender": TrainCommand(RecommenderSettings, "RecommenderRecipe", *RECOMMENDER, ""),
}


def add_train(commands: Any) -> None:
    """Add the options of all recipes."""
    train = commands.add_parser("train", help="train a model with a recipe")
    recipes = train.add_subparsers(title="recipes", required=True, metavar="RECIPE")
    for name, command in COMMANDS.items():
        settings = command.settings
        parser = recipes.add_parser(name, help=settings.title, description=settings.about)
        add_settings(parser, settings)
        run = parser.add_argument_group("run")
        command.add_options(run)
        add_run(run, None if name == "recommender" else f"runs/{name}")
        add_mesh(parser, command.mesh_note)
        parser.set_defaults(run=run_train, train=command, resumes=True)


def run_train(options: argparse.Namespace) -> None:
    """Train, evaluate, compare, export."""
    mesh = make_mesh(options)  # first of all, since it may split the CPU
    recipe = options.train.make_recipe(options)
    from moe_zoo.training import Run

    output = options.output or default_output(options)
    Run(recipe, output, options.logs, progress=not options.quiet, mesh=mesh).train_all()
