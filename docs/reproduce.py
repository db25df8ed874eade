"""Write docs/reproduction.md from the paper's claims, measured here: `make reproduction`.

Claims that runs/reproduce holds already are read from there.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

import torch

import edsl
from edsl.lab.claims.catalogue import CLAIMS, claim
from edsl.lab.claims.writing import markdown

DOCS = Path(__file__).parent
HEAD = """# The paper's claims, measured again

Figures and tables of *Exploring Landscapes for Better Minima along Valleys* that a CPU can test, at small scale; claims
that do not reproduce are reported in the same detail. Every verdict follows from the measurements by its stated rule.
Intervals are 95 %, paired by seed, by Student's t. *twin* is the same optimizer without E, with its momentum slowed by
as much as E delays.

Limits of small runs: the paper trains ImageNet-sized models for thousands of steps. Here a training run has a few
hundred, which barely warm up an average with β₁ = .99.

"""


def main(names: list[str]) -> None:
    """Every claim into one page, its pictures into a folder beside it."""
    began = time.time()
    found = []
    for name in names or list(CLAIMS):
        folder = Path("runs/reproduce") / name
        folder.mkdir(parents=True, exist_ok=True)
        found.append(claim(name)(folder, False))
        print(f"{name}: {found[-1].verdict}, {time.time() - began:.0f} s", file=sys.stderr)
    lines = [HEAD, "| claim | verdict |\n|---|---|\n"]
    lines += [f"| [{one.title}](#{_anchor(one.title, one.verdict)}) | {one.verdict} |\n" for one in found]
    lines += ["\n", *(markdown(one, DOCS / "reproduction", DOCS) + "\n" for one in found)]
    lines.append(
        f"Measured with edsl {edsl.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} CPUs, {platform.machine()}, by `make reproduction`.\n"
    )
    (DOCS / "reproduction.md").write_text("".join(lines), encoding="utf-8")


def _anchor(title: str, verdict: str) -> str:
    """A heading's anchor as GitHub makes it."""
    text = f"{title}: {verdict}".lower().replace(" ", "-")
    return "".join(letter for letter in text if letter.isalnum() or letter in "-_")


if __name__ == "__main__":
    main(sys.argv[1:])
