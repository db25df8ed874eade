"""No text refers to what is not there: links, anchors, commands and their options, files, names of edsl.

Texts are the pages, the files for contributors, the examples, and the comments, docstrings and messages of the code.
"""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import typer
import yaml

import edsl
from edsl.cli.main import app

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
PAGES = [name for name in TRACKED if name.endswith(".md")]
OF_THE_REPOSITORY = [".pre-commit-config.yaml", "CITATION.cff", "Makefile", "pyproject.toml", ".ci/run"]
SOURCES = [name for name in TRACKED if name.endswith((".py", ".ipynb")) and not name.startswith("tests/")]
TEXTS = [*PAGES, *SOURCES, *OF_THE_REPOSITORY, *(name for name in TRACKED if name.startswith(".github/"))]
COMMANDS = typer.main.get_command(app).commands
WRITTEN = ("runs/", "build/", "dist/")  # by commands that a text shows, not kept here


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def known() -> frozenset[str]:
    """Files and folders here, by the end of their paths: a page may leave out where it is itself."""
    folders = {f"{parent}/" for path in TRACKED for parent in Path(path).parents if str(parent) != "."}
    return frozenset({*TRACKED, *folders})


@cache
def anchors(name: str) -> frozenset[str]:
    """The places in a page that a link can name, as GitHub makes them of its headings."""
    found: dict[str, int] = {}
    for title in re.findall(r"^#{1,6} +(.*)$", re.sub(r"```.*?```", "", text_of(name), flags=re.DOTALL), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return frozenset(found)


def wrong_links(page: str) -> list[str]:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text_of(page), flags=re.DOTALL)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        name = target.resolve().relative_to(ROOT).as_posix() if target.exists() else ""
        if not name or (anchor and anchor not in anchors(name)):
            wrong.append(link)
    return wrong


def test_every_link_leads_somewhere():
    assert not {page: wrong for page in PAGES if (wrong := wrong_links(page))}


def command_lines(text: str) -> list[str]:
    """What follows `edsl` wherever a text shows it as a command: in a block, in backticks, or behind `Example:`."""
    shown = [
        *re.findall(r"^(?:    |\t|#? ?\$ )(?:\$\(BIN\)/)?edsl ([a-z-][^\n]*)", text, re.MULTILINE),
        *re.findall(r"`+(?:edsl) ((?:[^`\n]|\n(?!\n))*)`", text),
        *re.findall(r"Example: edsl ([^\n]*)", text),
    ]
    return [re.split(r"\s+#|\\$", " ".join(line.split()))[0] for line in shown]


def wrong_in(line: str) -> str:
    """The word of a command line that edsl does not know, "" where it knows all."""
    try:
        words = shlex.split(line.replace("…", "").replace("...", ""))
    except ValueError:  # the line goes on elsewhere
        words = line.split()
    while words and words[0] in ("--plugin", "--rules"):
        del words[:2]
    if not words or words[0].startswith("-") or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
        return ""
    if words[0] not in COMMANDS:
        return words[0]
    options = {name for one in COMMANDS[words[0]].params for name in (*one.opts, *one.secondary_opts)}
    options |= {"--help", "-h"}
    asked = [
        re.split(r"[=|\[\]]", word.strip("[](),.;:"))[0] for word in words[1:] if word.strip("[(").startswith("--")
    ]
    return next((f"{words[0]} {option}" for option in asked if option not in options), "")


def wrong_commands(name: str) -> list[str]:
    text = text_of(name)
    wrong = [word for line in command_lines(text) if (word := wrong_in(line))]
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    made = re.findall(r"(?:`|^    |^- run: |^\s+- run: |^\s+entry: )make ([a-z-]+)", text, re.MULTILINE)
    return [*wrong, *(f"make {target}" for target in made if target not in targets)]


def test_every_command_and_option_that_a_text_shows_is_there():
    assert not {name: wrong for name in TEXTS if (wrong := wrong_commands(name))}


def test_the_page_of_commands_has_every_command():
    shown = {line.split()[0] for line in command_lines(text_of("docs/commands.md"))}
    assert not COMMANDS.keys() - shown


def test_a_stale_command_option_or_target_is_seen():
    assert wrong_in("compare alto lamb --task digits --seeds 3") == ""
    assert wrong_in("comprare alto lamb") == "comprare"
    assert wrong_in("compare alto --sedes 3") == "compare --sedes"
    assert command_lines("Try `edsl show\n  alto --jsn`.\n\n    edsl lst   # all\n") == ["lst", "show alto --jsn"]
    assert "the-layers" in anchors("docs/architecture.md")
    assert "no-such-heading" not in anchors("docs/architecture.md")


FILE = re.compile(r"(?<![\w./~$<-])((?:[\w-]+/)+[\w.-]+\.(?:py|md|toml|txt|json|cpp|edsl|ipynb|html|yml|cff))(?![\w/])")


def wrong_files(name: str) -> set[str]:
    here = Path(name).parent

    def is_there(path: str) -> bool:
        candidates = (path, (here / path).as_posix(), f"docs/{path}", f"edsl/{path}")
        return not known().isdisjoint(candidates) or path.startswith(WRITTEN) or "NAME" in path

    return {path for path in FILE.findall(re.sub(r"https?://\S+", "", text_of(name))) if not is_there(path)}


def test_every_file_that_a_text_names_is_there():
    assert not {name: wrong for name in TEXTS if (wrong := wrong_files(name))}


def exists(dotted: str) -> bool:
    """Whether `edsl.a.b` is a module, or a name in one."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            try:
                found = getattr(found, part)
            except (AttributeError, edsl.EdslError):
                return False
        return True
    return False


GROUPS = ("edsl.stages", "edsl.tasks", "edsl.measures")  # of entry points


def wrong_names(page: str) -> list[str]:
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    names = set(re.findall(r"`(edsl(?:\.[A-Za-z_]\w*)+)", prose)) - {*GROUPS}
    return [name for name in sorted(names) if not exists(name)]


def test_every_name_of_edsl_that_a_page_has_is_there():
    assert not {page: wrong for page in PAGES if (wrong := wrong_names(page))}


def test_workflows_templates_and_citation_are_read_by_their_readers():
    for name in [one for one in TRACKED if one.endswith((".yml", ".yaml", ".cff"))]:
        assert isinstance(yaml.safe_load(text_of(name)), dict), name
    bug = yaml.safe_load(text_of(".github/ISSUE_TEMPLATE/bug.yml"))
    asked = {part["id"]: part["attributes"]["label"] for part in bug["body"]}
    assert {"`edsl show SPEC`", "`edsl doctor`"} <= {*asked.values()}
    (ruff, _) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert f"ruff=={ruff['rev'].removeprefix('v')}\n" in text_of("constraints.txt")
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert "2510.27153" in citation["preferred-citation"]["url"]
    release = yaml.safe_load(text_of(".github/workflows/release.yml"))["jobs"]["publish"]
    assert release["permissions"] == {"id-token": "write"}
