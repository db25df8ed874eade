"""`edsl reproduce`: the paper's claims, measured again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edsl.cli.render.claim import print_claim
from edsl.cli.render.page import print_json, print_note
from edsl.errors import EdslError


def reproduce(names: Sequence[str], quick: bool, out: Path, as_json: bool) -> None:
    """Run claims, each into a folder of its own; print each with its verdict, and write reproduction.md."""
    from edsl.lab.claims.catalogue import CLAIMS, LARGE, claim
    from edsl.lab.claims.writing import markdown

    all_here = [name for name in CLAIMS if name not in LARGE]
    chosen = all_here if list(names) == ["all"] else list(dict.fromkeys(names))
    runs = {name: claim(name) for name in chosen}
    said = []
    for name, run in runs.items():
        print_note(f"{name}: {CLAIMS[name][1]}")
        folder = out / (f"{name}-quick" if quick else name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = run(folder, quick)
            (folder / "claim.md").write_text(markdown(found, folder, folder), encoding="utf-8")
        except OSError as reason:
            raise EdslError(f"can't write to {folder}: {reason.strerror or reason}") from None
        said.append({**asdict(found), "pictures": [str(place) for place in found.pictures], "folder": str(folder)})
        if not as_json:
            print_claim(found, folder)
    if as_json:
        print_json(said)
