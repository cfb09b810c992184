"""Packaging of moe-zoo: all metadata stands here, tool settings in pyproject.toml.

`models/` and `training/` are next to `moe_zoo/` in the source tree and are installed inside it,
as `moe_zoo.models` and `moe_zoo.training`.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
BLEU = ["sacrebleu>=2.4,<3"]
ONNX = ["onnx>=1.17,<2", "onnxruntime>=1.20,<2", "tf2onnx>=1.17,<2"]
PICTURES = ["matplotlib>=3.9,<4"]
RUFF = "ruff>=0.17,<0.18"  # one minor release: the next may format differently
SETUPTOOLS = "setuptools>=77,<90"
FOLDERS = {"moe_zoo": "moe_zoo", "moe_zoo.models": "models", "moe_zoo.training": "training"}

packages = [
    name
    for parent, folder in FOLDERS.items()  # computed, so that no subpackage is forgotten
    for name in (parent, *(f"{parent}.{child}" for child in find_packages(folder)))
]


def read_version():
    """Return the version string of `moe_zoo/__init__.py`, its only source."""
    source = (ROOT / "moe_zoo" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE).group(1)


setup(
    name="moe-zoo",
    version=read_version(),
    description="Mixture-of-experts layers, models and training recipes for Keras 3 on TensorFlow",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["mixture of experts", "moe", "keras", "tensorflow", "routing"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=packages,
    package_dir=FOLDERS,
    package_data={"moe_zoo": ["py.typed"], "moe_zoo.tensorboard": ["static/*"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        "tensorflow>=2.19,<2.22",
        "keras>=3.10,<3.16",
        'tensorflow-text>=2.19,<2.22; platform_system != "Windows"',  # it has no wheel for Windows
        "tensorboard>=2.19,<3",
        "numpy>=1.26,<3",
        "pyyaml>=6,<7",
    ],
    extras_require={
        "bleu": BLEU,
        # What `make docs` builds the site with, in an environment of its own.
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.7,<10",
            "mkdocstrings-python>=2,<3",
            RUFF,  # it formats the signatures
            SETUPTOOLS,
        ],
        "onnx": ONNX,
        # What `make test-original` compares with, in an environment of its own: results are those
        # of releases, and not every one is right (see docs/switch_weights.md).
        "original": [
            "protobuf>=5",
            "sentencepiece==0.2.3",
            "torch==2.13.0",
            "transformers==5.23.0",
        ],
        "parquet": ["pyarrow>=18"],
        "pictures": PICTURES,
        "test": [
            *BLEU,
            *ONNX,
            *PICTURES,
            "basedpyright>=1.31,<2",
            "build>=1.2,<2",
            "hypothesis>=6.100,<7",
            "mypy>=1.18,<3",
            "pandas>=2.2,<4",  # users give frames to the recommender; the library needs none
            "pyarrow>=18",
            "pytest>=8.3,<10",
            "pytest-xdist>=3.6,<4",
            RUFF,
            "selenium>=4.25,<5",
            SETUPTOOLS,
        ],
    },
    entry_points={
        "console_scripts": ["moe-zoo = moe_zoo.__main__:main"],
        "tensorboard_plugins": ["moe_routing = moe_zoo.tensorboard.plugin_loader:RoutingLoader"],
    },
)
