"""Python text → a module, from a file of its own: Triton reads its kernels' source from there."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from edsl.kernels.code_cache import kept

SOURCE = "kernels.py"


@cache
def import_source(text: str) -> ModuleType:
    """The module that a text is, kept in the cache under its hash.

    Raises:
        OSError: where it can't be kept.
        ImportError: where it imports what is not there.
    """
    key = hashlib.sha256(text.encode()).hexdigest()[:32]

    def write(place: Path) -> None:
        place.write_text(text, encoding="utf-8")

    return kept(key, SOURCE, write, lambda place: _imported(f"edsl_{key}", place))


class _SourceLoader(SourceFileLoader):
    """Reads the source, which has a checksum, and never bytecode beside it, which has none."""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True)


def _imported(name: str, place: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, place, loader=_SourceLoader(name, str(place)))
    assert spec is not None  # of a loader that is given
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
