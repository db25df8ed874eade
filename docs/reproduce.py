"""Write docs/reproduction.md from the paper's claims, measured here: `make reproduction`.

Trials that runs/reproduce holds already are not run again. `make reproduction CLAIMS="memory times"` measures these
alone, and leaves what the page says of the others as it is.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

import edsl
from edsl.lab.claims.catalogue import CLAIMS, LARGE, claim
from edsl.lab.claims.writing import markdown

DOCS = Path(__file__).parent
HEAD = """# The paper's claims, measured again

Written, with its pictures, by `make reproduction`; each claim says the command that measures it again.

Figures and tables of *Exploring Landscapes for Better Minima along Valleys* that a CPU can test, at small scale; claims
that do not reproduce are reported in the same detail. Every verdict follows from the measurements by its stated rule.
Intervals are 95 %, paired by seed, by Student's t. Where a race decides a claim, family-wise verdicts count
(Holm); a column *verdict* beside one called *family-wise* is of one difference alone. *twin* is the same optimizer
without E, with its momentum slowed by as much as E delays.

Limits of small runs: the paper trains ImageNet-sized models for thousands of steps. Here a training run has a few
hundred, which barely warm up an average with β₁ = .99. Tuning is short too: with six learning rates tried, as in the
claims on places of a_k, batch sizes and times, Lamb's best at batch 4096 is .0316 (77 % right), with the eight of
tables 3–5 .0562 (81 %).

"""
TITLES = "| claim | verdict |\n|---|---|\n"


def main(names: list[str]) -> None:
    """Every claim into one page, its pictures into a folder beside it; with names these alone, in the page that is."""
    began = time.time()
    place = DOCS / "reproduction.md"
    before = place.read_text(encoding="utf-8") if names and place.exists() else HEAD
    head, sections = before.partition(TITLES)[0], sections_of(before)
    for name in names or [name for name in CLAIMS if name not in LARGE]:
        folder = Path("runs/reproduce") / name
        folder.mkdir(parents=True, exist_ok=True)
        found = claim(name)(folder, False)
        sections[name] = f"{markdown(found, DOCS / 'reproduction', DOCS)}\n{_measured()}"
        print(f"{name}: {found.verdict}, {time.time() - began:.0f} s", file=sys.stderr)
    place.write_text(page(head, sections), encoding="utf-8")


def page(head: str, sections: Mapping[str, str]) -> str:
    """The page of some claims' sections, in the order of the catalogue, behind what is said of all of them."""
    ordered = [sections[name] for name in CLAIMS if name in sections]
    heads = [re.match(r"## (.*): ([^:\n]*)\n", section) for section in ordered]
    lines = [f"| [{one[1]}](#{_anchor(one[1], one[2])}) | {one[2]} |\n" for one in heads if one is not None]
    return "".join([head, TITLES, *lines, "\n", "\n".join(ordered)])


def sections_of(text: str) -> dict[str, str]:
    """The sections of a page by the names of their claims, each as `main` wrote it."""
    found = {}
    for section in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]:
        name = re.search(r"^    edsl reproduce (\S+)$", section, flags=re.MULTILINE)
        if name is not None:
            found[name[1]] = f"{section.rstrip()}\n"
    return found


def _measured() -> str:
    return (
        f"*Measured* with edsl {edsl.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} CPUs, {platform.machine()}.\n"
    )


def _anchor(title: str, verdict: str) -> str:
    """A heading's anchor as GitHub makes it."""
    text = f"{title}: {verdict}".lower().replace(" ", "-")
    return "".join(letter for letter in text if letter.isalnum() or letter in "-_")


if __name__ == "__main__":
    main(sys.argv[1:])
