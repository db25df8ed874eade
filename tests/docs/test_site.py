"""The site's pages, its navigation and its reference; and, slowly, the strict build itself."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import edsl
from edsl.language.registry.stages import STAGES
from edsl.optim import classes
from github_markdown import PAGES_ELSEWHERE, for_the_site, language_of, slug
from stage_reference import MARK, NAMES, stages_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def in_nav(entries: Any) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    parts = entries.values() if isinstance(entries, dict) else entries
    return [page for part in parts for page in in_nav(part)]


def test_every_page_is_in_the_navigation_once_and_every_entry_is_a_page():
    nav = in_nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(nav) == sorted({*PAGES, *PAGES_ELSEWHERE.values()})
    assert all((ROOT / source).is_file() for source in PAGES_ELSEWHERE)


def test_every_page_begins_with_its_only_title():
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert text.startswith("# "), page
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, page


def test_every_stage_is_in_the_reference_of_one_page():
    kinds = [kind for page in PAGES for kind in MARK.findall((DOCS / page).read_text(encoding="utf-8"))]
    assert sorted(name for kind in kinds for name in stages_of(kind)) == sorted(STAGES)


def test_every_public_name_is_on_the_page_of_the_api():
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    alike = {name for name in edsl.__all__ if hasattr(classes, name) and name != "PipelineOptimizer"}
    documented = NAMES.findall(page)
    assert sorted({*documented} | alike) == sorted(edsl.__all__)
    assert not [name for name in alike if f"`{name}`" not in page]
    assert re.findall(r"^### edsl\.(\w+)$", page, re.MULTILINE) == documented


def test_every_picture_is_shown_and_its_page_says_the_command_that_writes_it():
    theory, reproduction = ((DOCS / name).read_text(encoding="utf-8") for name in ("theory.md", "reproduction.md"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "`make reproduction`" in reproduction
    pictures = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.png")]
    assert len(pictures) > 20
    for picture in pictures:
        folder, _, name = picture.rpartition("/")
        said = {
            "theory": lambda picture=picture: f"--out docs/{picture}\n" in theory,
            "reproduction": lambda name=name: f"edsl reproduce {re.split(r'-[0-9]', name)[0]}\n" in reproduction,
            "": lambda name=name: f"`make {name.partition('-')[0]}`" in readme,
        }
        assert f"]({picture})" in theory + reproduction or f'"docs/{picture}"' in readme, picture
        assert said[folder](), picture


@pytest.mark.parametrize(
    ("page", "on_github", "in_the_site"),
    [
        ("index.md", "[a](docs/language/README.md#rules)", "[a](language/README.md#rules)"),
        ("index.md", '<img src="docs/theory/design.png">', '<img src="theory/design.png">'),
        ("index.md", "[a](CONTRIBUTING.md) [b](https://arxiv.org)", "[a](CONTRIBUTING.md) [b](https://arxiv.org)"),
        ("lab/tasks.md", "[a](../../examples/own_task.py)", "[a](../files/examples/own_task.py)"),
        ("lab/tasks.md", "[a](race.md)", "[a](race.md)"),
        ("guide.md", "| a | `e \\| lamb` \\| |", "| a | `e | lamb` \\| |"),
        ("guide.md", "So:\n\n    grad | e | lamb\n\nand", "So:\n\n```python\ngrad | e | lamb\n```\n\nand"),
        ("guide.md", "- a\n\n    b | c\n", "- a\n\n    b | c\n"),
        ("guide.md", "```text\n[a](CONTRIBUTING.md) `|`\n```", "```text\n[a](CONTRIBUTING.md) `|`\n```"),
    ],
)
def test_a_page_of_github_becomes_one_of_the_site(page, on_github, in_the_site):
    assert for_the_site(on_github, page) == in_the_site


def test_code_is_coloured_as_what_it_is():
    assert language_of("edsl show alto   # a comment") == "bash"
    assert language_of("EDSL_DATA=here make test") == "bash"
    assert language_of("grad | e(alpha=-5, beta1=0.99) | lamb(lr=0.01)") == "python"
    assert language_of("@update\ndef heavy(u):") == "python"
    assert language_of("a_k = β₁ a_{k−1} + (1−β₁)(g_k − g_{k−1})") == "text"
    assert slug("`torch.AdamW`, and a_k: 50 % of β₁") == "torchadamw-and-a_k-50--of-β₁"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason='the site needs pip install -e ".[docs]"')
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "<math" in (tmp_path / "site" / "language" / "matrices" / "index.html").read_text(encoding="utf-8")
    assert "Newton" in (tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8")
