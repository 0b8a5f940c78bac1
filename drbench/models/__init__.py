"""Models: networks by name, which of their convolutions are replaced, and files that hold the result."""

from __future__ import annotations

from drbench.models.architectures import ARCHITECTURES, Architecture
from drbench.models.conversion import Conversion, Replacement, Skipped
from drbench.models.convert import convert
from drbench.models.create import build, create_model
from drbench.models.match import match_width
from drbench.models.model_file import load_model, read_header, save_model
from drbench.models.own import check_output
from drbench.models.recipes import RECIPES, Recipe

__all__ = [
    "ARCHITECTURES",
    "RECIPES",
    "Architecture",
    "Conversion",
    "Recipe",
    "Replacement",
    "Skipped",
    "build",
    "check_output",
    "convert",
    "create_model",
    "load_model",
    "match_width",
    "read_header",
    "save_model",
]
