"""`moe-zoo train recommender`."""

from pathlib import Path

from moe_zoo.training.recipes.recommender.settings import MIXINGS, SOURCES, RecommenderSettings
from moe_zoo.validation import check_int

from .options import add_compare, add_mesh, add_settings, make_plan, read_names, read_settings
from .parser import file_path, whole


def add_recommender(recipes):
    """The options of `moe-zoo train recommender`."""
    parser = recipes.add_parser(
        "recommender",
        help="multi-task ranking model with shared experts (Ma et al. 2018)",
        description="Train a model of several tasks on a table, with several seeds and beside "
        "other ways to share, compare them on the test part, and export the first one as a "
        "SavedModel that takes raw columns. The same command goes on where an earlier one was "
        "stopped.",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=file_path,
        default="synthetic",
        metavar="NAME|PATH",
        help=f"{', '.join(SOURCES)}, or a table of your own: CSV, gzipped or not, or Parquet, a "
        "file or a folder (default synthetic)",
    )
    data.add_argument(
        "--path",
        type=file_path,
        metavar="DIR",
        help="folder of a named data set; downloaded if not given",
    )
    data.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME:KIND[:OPTIONS]",
        help="a label of your own table: click:binary, rating:regression:weight=0.5, "
        "topic:classes:classes=a|b; may be repeated",
    )
    data.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="NAME:KIND[:OPTIONS]",
        help="age:number, hour:buckets, city:category, user:hashed:num_bins=100000, genres:list; "
        "may be repeated (default: all columns that are no labels, by their first rows)",
    )
    data.add_argument(
        "--table",
        type=file_path,
        metavar="FILE",
        help="YAML file with features and tasks, in place of both",
    )
    add_settings(parser, RecommenderSettings)
    run = parser.add_argument_group("run")
    add_compare(run, "ways to share", "MIXING", MIXINGS)
    run.add_argument(
        "--seeds", type=whole, default=1, metavar="N", help="of weights and row order (default 1)"
    )
    run.add_argument(
        "--output",
        type=file_path,
        metavar="DIR",
        help="folder of the run (default: runs/ and the name of the data)",
    )
    run.add_argument("--quiet", action="store_true", help="no progress bars")
    add_mesh(parser)
    parser.set_defaults(run=run_train_recommender, goes_on=True)


def run_train_recommender(options):
    """Train, compare, export."""
    settings = read_settings(options, RecommenderSettings)
    mixings = read_names(settings.mixing, options.compare, MIXINGS, "ways to share")
    seeds = check_int("seeds", options.seeds, least=1)
    plan = make_plan(options)  # first of all, since it may split the CPU
    from moe_zoo.training.recipes.recommender.run import RecommenderRun
    from moe_zoo.training.recipes.recommender.sources import read_source

    data = read_source(
        settings, options.data, options.path, options.feature, options.task, options.table
    )
    name = Path(options.data).resolve().name.strip(".").split(".")[0]
    output = options.output or Path("runs", name or "table")
    run = RecommenderRun(settings, data, output, progress=not options.quiet, plan=plan)
    run.compare(mixings, seeds)
    run.finish(settings.mixing)
