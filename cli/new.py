"""`edsl new`: files to begin with."""

from __future__ import annotations

from pathlib import Path

from edsl.cli.render.page import print_text
from edsl.errors import EdslError, either, shown

KINDS = ("task",)


def new(kind: str, name: str) -> None:
    """Write NAME.py, a file of this kind that runs; an existing file stays as it is."""
    if kind not in KINDS:
        raise EdslError(f"edsl new writes a {either(KINDS)}, got {shown(kind)}")
    path = Path(name if name.endswith(".py") else f"{name}.py")
    if not path.stem.isidentifier():
        raise EdslError(f"name a file by letters, digits and _, such as mytask, got {shown(path.stem)}")
    from edsl.lab.tasks import template

    text = Path(template.__file__).read_text(encoding="utf-8").replace("--task FILE", f"--task {path}")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise EdslError(f"{path} exists already; choose another name") from None
    except OSError as reason:
        raise EdslError(f"can't write {path}: {reason.strerror or reason}") from None
    print_text(f"{path}: race on it with edsl compare alto lamb --task {path}")
