"""Every example runs as it is, and what it trains learns."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TRAINS = {
    "plain_loop": (),
    "own_rule": (),
    "lightning_trainer": ("lightning",),
    "hf_trainer_lora": ("transformers", "peft"),
    "accelerate_loop": ("accelerate",),
}
OTHERS = ["own_task", "fsdp2", "stable_baselines3_ppo", "design_analyse_race"]
QUICK = ("plain_loop",)
stacks = pytest.mark.filterwarnings("ignore")  # of the stacks about themselves


def run_main(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]()


def test_every_example_is_run_and_told_of_in_the_folders_readme():
    files = {path.stem for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert files == {*TRAINS, *OTHERS}
    text = (EXAMPLES / "README.md").read_text()
    assert {path.name for path in EXAMPLES.iterdir() if path.name != "README.md"} == {
        *re.findall(r"\]\(([\w.]+)\)", text)
    }


@stacks
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TRAINS]
)
def test_training_brings_the_loss_down(name):
    for package in TRAINS[name]:
        pytest.importorskip(package)
    first, last = run_main(name)
    assert last < 0.7 * first


@pytest.mark.slow
def test_a_race_on_an_own_task_finishes_every_trial():
    rows = run_main("own_task").results.rows
    assert [row.ok for row in rows] == [3, 3]
    assert max(row.test_accuracy.mean for row in rows) > 0.8


@stacks
@pytest.mark.slow
def test_a_policy_of_ppo_gets_better():
    pytest.importorskip("stable_baselines3")
    before, after = run_main("stable_baselines3_ppo")
    assert after > 2 * before


@pytest.mark.slow
def test_two_processes_with_shards_train_as_one_does():
    said = []
    for processes in ("1", "2"):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
        done = subprocess.run([*launch, str(EXAMPLES / "fsdp2.py")], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append(re.findall(r"loss [\d.]+ → [\d.]+", done.stdout))
    assert said[0] == said[1] != []


@pytest.mark.slow
def test_the_notebooks_cells_run_from_top_to_bottom(capsys):
    notebook = json.loads((EXAMPLES / "design_analyse_race.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "a cell", "exec"), names)
    printed = capsys.readouterr().out
    assert "θₖ = θₖ₋₁" in printed
    assert [row.ok for row in names["race"].results.rows] == [3, 3, 3]
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "kept without outputs, which would go stale"
