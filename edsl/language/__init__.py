"""The language: a text is a pipeline is a text. It imports no torch."""

from edsl.language import pipeline as pipeline  # which gives stages their operator |
from edsl.language.registry import check as check  # which looks at classes that somebody else wrote
