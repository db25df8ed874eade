"""Figures and lists of the pages are those of the tools, of the registry, and of the pages that measured them."""

from __future__ import annotations

import math
import re

import pytest
import typer
from pages import DOCS, as_number, numbers, table

import edsl
from edsl.cli.main import app
from edsl.costs.cost import cost
from edsl.costs.memory import memory
from edsl.lab.benchmarks.parameter_sets import parameter_set
from edsl.lab.tasks.catalogue import TASKS, task
from edsl.lab.verify import verify
from edsl.language.context import At
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import PACKAGES, STAGES
from edsl.language.registry.zoo import zoo_names
from edsl.theory.stability.report import check_pipeline
from edsl.theory.systems.linearise import NotLinear


def text_of(name: str) -> str:
    """A page in one line."""
    return " ".join((DOCS / name).read_text(encoding="utf-8").split())


def test_sets_of_parameters_are_as_large_as_the_page_says():
    for names, tensors, parameters in table("tools.md", "SET")[:-1]:
        counts, sizes = numbers(tensors.partition(" of ")[0]), numbers(parameters)
        for name, count, size in zip(names.split(", "), counts, sizes, strict=True):
            found = parameter_set(name)
            assert (len(found), sum(map(math.prod, found.values()))) == (count, size)


def test_verify_parts_where_the_page_says():
    (row,) = [row for row in table("tools.md", "SPEC") if "part at step" in row[2]]
    parted = verify(*row[:2], steps=2).parted
    assert parted is not None
    assert row[2] == f"part at step {parted.step} in {parted.tensor}, by {parted.difference:.2g}"


def test_synopses_of_tools_have_every_option():
    commands = typer.main.get_command(app).commands
    synopses = re.findall(r"^    edsl (\w+) (.*\[--json\].*)$", (DOCS / "tools.md").read_text(), re.MULTILINE)
    assert len(synopses) > 4
    for name, line in synopses:
        spelt = [{*one.opts, *one.secondary_opts} for one in commands[name].params if one.param_type_name == "option"]
        assert not [one for one in spelt if not one & {*re.findall(r"--[\w-]+", line), "--help"}], name


WITHIN = {"estimators": "{} | sgd", "adapters": "grad | {} | sgd", "updates": "{}", "wrappers": "sgd | {}"}
FULL = {  # of stages that can't stand alone like that
    "grad_pair": "grad_pair | e(buffers=2) | sgd",
    "repel": "repel | e(buffers=2) | sgd",
    "clip": "grad | clip(norm=1) | sgd",
    "adahessian": "hutchinson | adahessian",
    "sophia": "hutchinson | sophia",
}


def room_of(stage: str) -> str:
    return STAGES[stage].partition(":")[0].split(".")[1]


@pytest.mark.parametrize(("page", "room"), [("updates", "updates"), ("adaptors", "adapters"), ("wrappers", "wrappers")])
def test_a_stage_keeps_the_bytes_that_its_table_says(page, room):
    named = set()
    for row in table(f"language/{page}.md", page.removesuffix("s")):
        stages, said = [re.split(r"\W", one)[0] for one in re.split(r", (?![^(]*\))", row[0])], numbers(row[-1])
        for stage, expected in zip(stages, said if len(said) == len(stages) else [said[0]] * len(stages)):
            found = memory(FULL.get(stage, WITHIN[room].format(stage)), {"weight": (1024, 1024)})
            assert found.state / found.parameters == pytest.approx(expected), stage
            named.add(stage)
    assert named == {stage for stage in STAGES if room_of(stage) == room} - {"route"}


def test_an_estimator_evaluates_and_keeps_what_its_table_says():
    for stage, _, evaluations, kept, _ in table("language/estimators.md", "estimator"):
        spec = stage.replace("=n", "=4").replace("=m", "=2")
        after = "e(buffers=2) | sgd" if "common" in spec or spec in FULL else "sgd"
        found, alone = cost(edsl.parse(f"{spec} | {after}")), cost(edsl.parse(f"grad | {after}"))
        said = evaluations.replace("2n", "8").replace("4n", "16").replace("1 + n/m", "3").replace("n ", "4 ")
        passes = {kind: int(count) for count, kind in re.findall(r"(\d+) (forward|backward)", said)}
        assert (found.forwards, found.backwards) == (passes["forward"], passes.get("backward", 0)), spec
        assert found.state - alone.state == as_number(kept), spec


def test_theory_takes_and_refuses_the_stages_that_its_page_says():
    analysed, refused = ({*re.findall(r"\b[a-z_]+\b", " ".join(column))} for column in zip(*rows_of_theory()))
    for stage in {*STAGES} - {"route"}:
        pipeline = edsl.parse(FULL.get(stage, WITHIN[room_of(stage)].format(stage)))
        try:
            check_pipeline(pipeline)
        except NotLinear:
            assert stage in refused, stage
        else:
            assert stage in analysed, stage


def rows_of_theory() -> list[list[str]]:
    """The stages that stand in a table of docs/theory.md, as code, analysed and refused."""
    text = (DOCS / "theory.md").read_text(encoding="utf-8").partition("| analysed |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in text.splitlines()[2:]]
    return [[" ".join(re.findall(r"`([^`]*)`", cell)) for cell in row] for row in rows]


def test_state_in_few_bits_is_as_small_as_the_pages_say():
    gpt2 = parameter_set("gpt2")

    def bytes_on_gpt2(spec: str, state_dtype: str | None = None) -> float:
        found = memory(spec, gpt2, "float32", state_dtype)
        return found.state / found.parameters

    for state_dtype, *_, said in table("optimizer.md", "state_dtype="):
        assert f"{bytes_on_gpt2('alto', state_dtype.strip(chr(34))):.2f}" == f"{numbers(said)[0]:.2f}"
    few, whole = [[bytes_on_gpt2(spec, one) for spec in ("esoap", "eshampoo")] for one in ("int8", None)]
    assert f'`esoap` holds {few[0]:.2f} B a parameter with `"int8"` and `eshampoo` {few[1]:.2f} ({whole[0]:.1f} in' in (
        text_of("optimizer.md")
    )
    assert f"{whole[0]:.1f}" == f"{whole[1]:.1f}"
    assert f"{few[0]:.1f} and {few[1]:.1f} on GPT-2's shapes instead of {whole[0]:.1f}" in text_of("features.md")
    assert f"E's two buffers as in the paper {bytes_on_gpt2('grad | e(buffers=2) | lamb'):g};" in text_of(
        "../README.md"
    )


def test_times_on_a_cpu_are_repeated_as_they_were_measured():
    rows = [row for name in ("mlp", "gpt2", "resnet20", "tiny") for row in tables_of("benchmarks/cpu.md", name)]
    spans = {}
    for optimizer in ("alto", "eadamw"):
        ratios = [row[3] for row in rows if row[0] == optimizer]
        spans[optimizer] = f"{min(ratios, key=float)} to {max(ratios, key=float)} times"
    assert f"ALTO takes [{spans['alto']}](docs/benchmarks/cpu.md)" in text_of("../README.md")
    assert f"`eadamw` {spans['eadamw']}" in text_of("../README.md")
    int8 = next(row for row in table("benchmarks/bytes.md", "optimizer") if row[0] == "edsl: alto (state_dtype='int8')")
    assert f"[in int8 {int8[2]}](docs/benchmarks/bytes.md), for {int8[4]} times the time;" in text_of("../README.md")
    (count,) = re.findall(r"can't decide: (\d+ of \d+) optimizers", text_of("suite.md"))
    assert f"{count} are not told from AdamW" in text_of("../README.md")


GPU = {tuple(row[:3]): row for row in table("benchmarks/gpu.md", "optimizer", "set")}
OURS = {key: row for key, row in GPU.items() if not key[0].startswith("torch") and "tiny" not in key[1]}


def test_times_on_a_gpu_are_repeated_as_they_were_measured():
    readme, features, said = text_of("../README.md"), text_of("features.md"), text_of("benchmarks/README.md")
    ms = {key: f"{as_number(row[3]):.1f}" for key, row in GPU.items()}
    adamw, torchs, alto = (ms[name, "gpt2-medium", "float32"] for name in ("adamw", "torch.AdamW", "alto"))
    halves = [ms[name, "gpt2-medium", "bfloat16"] for name in ("torch.AdamW", "adamw")]
    assert f"`adamw` [{adamw} ms](docs/benchmarks/gpu.md), torch's fused AdamW {torchs}, ALTO {alto};" in readme
    assert f"in bfloat16 torch's {halves[0]}, with moments in bfloat16, `adamw` {halves[1]};" in readme
    assert f"`adamw` takes {adamw} ms, torch's fused AdamW {torchs}, ALTO {alto}, at" in features
    (muon,) = re.findall(r"muon in bfloat16 takes ([\d.]+) times", text_of("benchmarks/gpu.md"))
    assert f"`muon` takes {muon} times as long as torch's" in readme
    assert f"ms in bfloat16, {muon} times torch.optim.Muon's" in said
    (reached,) = re.findall(r"(\d+ of \d+) of edsl's steps reach 85%", text_of("benchmarks/gpu.md"))
    assert f"*{reached} steps reach it;" in said
    host = [as_number(row[10]) for key, row in OURS.items() if key[1] == "gpt2-medium"]
    assert f"*They take it {min(host):.1f} to {max(host):.1f} ms, which" in said


def test_shares_of_a_copys_bandwidth_are_repeated_as_they_were_measured():
    def span(*ends: str) -> str:
        found = sorted(int(row[7][:-1]) for key, row in OURS.items() if key[-len(ends) :] == ends)
        return f"{found[0]} to {found[-1]} %"

    changed = text_of("../CHANGELOG.md")
    assert f"On an H100 they reach {span('float32')} of a copy's bandwidth in float32, " in changed
    assert f"{span('llama-1b', 'bfloat16')} in bfloat16 with 1.2 billion parameters and " in changed
    assert f"{span('gpt2-medium', 'bfloat16')} with 355 million" in changed


def tables_of(page: str, title: str) -> list[list[str]]:
    """The rows below a heading."""
    section = (DOCS / page).read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| ")]


def test_the_batch_rule_is_told_as_it_was_measured():
    rows = {(row[0], row[2]): row for row in table("reproduction.md", "batch", "σ_h/h", "α")}
    for batch, c, *cells in table("theory.md", "batch", "c"):
        for alpha, cell in zip(("0", "-5", "-50", "0.5"), cells, strict=True):
            row = rows[batch, alpha]
            assert numbers(f"{c}, {cell}") == [round(as_number(row[place]), 3) for place in (1, 4, 6)]


def test_lists_of_names_are_the_registries():
    kinds = " ".join(row[2] for row in table("language/README.md", "kind"))
    named = {*re.findall(r"[a-z_0-9]+", kinds.replace("any optimizer X", ""))}
    assert not {*STAGES} - named
    assert dict(table("language/README.md", "recipe")) == {name: one.text for name, one in RECIPES.items()}
    assert [row[0] for row in table("language/packages.md", "package")] == [*PACKAGES]
    changed = text_of("../CHANGELOG.md")
    listed = re.findall(r"recipes (`alto`.*?), most of them", changed)[0]
    assert {*re.findall(r"`(\w+)`", listed)} == {*RECIPES}
    zoo = re.findall(r"names in every spec: (.*?) and (\d+) more", changed)[0]
    shown = re.findall(r"`(\w+)`", zoo[0])
    assert {*shown} <= {*zoo_names()}
    assert len(shown) + int(zoo[1]) == len(zoo_names())
    assert len(At.__abstractmethods__) == 8
    assert "implements the eight abstract methods of `At`" in text_of("architecture.md")
    assert "A backend implements eight functions of `At`" in changed


OFFLINE = ("digits", "cancer", "mnist1d", "sine", "bytes", "cartpole", "quadratic", "logistic", "cardioid")


def test_tasks_have_the_models_and_budgets_that_their_table_says():
    rows = {row[0].split(":")[0].split(", ")[0]: row for row in table("lab/tasks.md", "--task")}
    names = {name.split(":")[0] for row in table("lab/tasks.md", "--task") for name in row[0].split(", ")}
    assert names - {"…"} == {*TASKS}
    for name in OFFLINE:
        *_, models, budget = rows[name]
        found = task(name)
        assert [found.batch, found.steps] == numbers(budget.replace("episodes", ""))
        assert [one for one in re.findall(r"\b[a-z]+\b", models) if one in found.models] == [*found.models]
        for model, size in re.findall(r"(\w+) \(([\d,.]+)\)", models):
            assert sum(parameter.numel() for parameter in found.models[model]().parameters()) == as_number(size)
