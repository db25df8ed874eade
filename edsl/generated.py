"""Python text → a module, from a file of its own: Triton reads its kernels' source from there."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from functools import cache
from types import ModuleType

from edsl.cxx import cache_folder


@cache
def generated(text: str) -> ModuleType:
    """The module that a text is, kept in the cache folder under its hash.

    Raises:
        OSError: where the folder can't be written to.
        ImportError: where it imports what is not there.
    """
    name = f"edsl_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    place = cache_folder() / f"{name}.py"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, encoding="utf-8", delete=False) as file:
            file.write(text)
        os.replace(file.name, place)
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None  # of a name that ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
