"""The options of `moe-zoo train recommender` besides its settings: the data, mixings, seeds."""

import argparse
from pathlib import Path
from typing import Any

from moe_zoo.training.recipes.recommender.settings import MIXINGS, SOURCES

from .options import add_compare, read_names
from .parser import file_path, whole


def add_recommender_options(parser: argparse._ArgumentGroup) -> None:
    """Add the options."""
    parser.add_argument(
        "--data",
        type=file_path,
        default="synthetic",
        metavar="NAME|PATH",
        help=f"{', '.join(SOURCES)}, or a table of your own: CSV, gzipped or not, or Parquet, a "
        "file or a folder (default synthetic)",
    )
    parser.add_argument(
        "--path",
        type=file_path,
        metavar="DIR",
        help="folder of a named data set (default: in $MOE_ZOO_DATA, else it is downloaded)",
    )
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME:KIND[:OPTIONS]",
        help="a label of your own table: click:binary, rating:regression:weight=0.5, "
        "topic:classes:classes=a|b; may be repeated",
    )
    parser.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="NAME:KIND[:OPTIONS]",
        help="age:number, hour:buckets, city:category, user:hashed:num_bins=100000, genres:list; "
        "may be repeated (default: all columns that are not labels, by their first rows)",
    )
    parser.add_argument(
        "--table",
        type=file_path,
        metavar="FILE",
        help="YAML file with features and tasks, in place of both",
    )
    add_compare(parser, "mixings", "MIXING", MIXINGS)
    parser.add_argument(
        "--seeds",
        type=whole,
        default=1,
        metavar="N",
        help="number of seeds of weights and row order (default 1)",
    )


def read_recommender_options(options: argparse.Namespace, settings: Any) -> dict:
    """Read what the recipe takes besides its settings."""
    mixings = read_names(settings.mixing, options.compare, MIXINGS, "mixings")
    from moe_zoo.training.recipes.recommender.sources import read_source

    data = read_source(
        settings, options.data, options.path, options.feature, options.task, options.table
    )
    return {"data": data, "mixings": mixings, "seeds": options.seeds}


def default_output(options: argparse.Namespace) -> Path:
    """Return the folder of a run without `--output`: `runs/` and the name of the data."""
    name = Path(options.data).resolve().name.strip(".").split(".")[0]
    return Path("runs", name or "table")
