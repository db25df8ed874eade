"""Training stacks train every recipe, and resume as if nothing had happened."""

import subprocess
import sys

import pytest
import stacks
import torch
from compatibility import DOC, page, refused, works

import edsl
from edsl.language.registry.recipes import RECIPES

STACKS = {
    "a loop": stacks.plain,
    "Lightning": stacks.lightning,
    "HF Trainer": stacks.transformers,
    "Accelerate": stacks.accelerate,
}
TRAINED = [(client, recipe) for client in STACKS for recipe in works(client)]
REFUSED = [(client, recipe) for client in STACKS for recipe in refused(client)]
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stacks about themselves

all_stacks = pytest.mark.parametrize("client", STACKS)


def outcome(run):
    """Weights and state at a run's end, and how many steps it took."""
    model, optimizer, taken = run
    states = optimizer.state_dict()["state"].values()
    return [p.detach().clone() for p in model.parameters()], [dict(state) for state in states], len(taken)


def same(a, b):
    states = zip(a[1], b[1], strict=True)
    return all(map(torch.equal, a[0], b[0])) and all(torch.equal(x[key], y[key]) for x, y in states for key in x)


@pytest.mark.parametrize(("client", "recipe"), TRAINED)
def test_a_resumed_run_ends_as_an_undisturbed_one(client, recipe, tmp_path):
    undisturbed = outcome(STACKS[client](recipe, tmp_path))
    resumed = outcome(STACKS[client](recipe, tmp_path, resume=True))
    assert undisturbed[2] == stacks.STEPS
    assert resumed[2] == stacks.STEPS - stacks.SAVED_AT
    assert same(undisturbed, resumed)
    assert {int(state["step"]) for state in resumed[1]} == {stacks.STEPS}


@pytest.mark.parametrize(("client", "recipe"), REFUSED)
def test_what_a_stack_can_not_train_is_one_line(client, recipe, tmp_path):
    with pytest.raises(edsl.EdslError) as refusal:
        STACKS[client](recipe, tmp_path)
    assert refused(client)[recipe] in str(refusal.value)


@all_stacks
def test_a_run_that_is_killed_goes_on_from_its_checkpoint_as_if_it_had_not_been(client, tmp_path):
    words = [sys.executable, stacks.__file__, STACKS[client].__name__, "alto", str(tmp_path / "killed")]
    (tmp_path / "killed").mkdir()
    assert subprocess.run(words, capture_output=True, check=False).returncode == -9
    resumed = outcome(STACKS[client]("alto", tmp_path / "killed", resume=True))
    (tmp_path / "whole").mkdir()
    assert same(resumed, outcome(STACKS[client]("alto", tmp_path / "whole")))


@all_stacks
def test_a_compiled_run_is_the_eager_one_and_falls_back_nowhere(client, tmp_path):
    model, optimizer, _ = STACKS[client]("alto", tmp_path, mode="compiled")
    assert optimizer.fallbacks == []
    assert optimizer.compiled_graphs > 0
    eager, *_ = STACKS[client]("alto", tmp_path)
    for a, b in zip(model.parameters(), eager.parameters(), strict=True):
        assert (a - b).abs().max() <= 1e-6


OPTIONS = [
    ("Lightning", {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2}),
    ("Lightning", {"precision": "bf16-mixed"}),
    ("HF Trainer", {"gradient_accumulation_steps": 2, "max_grad_norm": 0.1}),
    ("HF Trainer", {"bf16": True}),
    ("Accelerate", {"gradient_accumulation_steps": 2}),
    ("Accelerate", {"mixed_precision": "bf16"}),
]


@pytest.mark.parametrize(("client", "options"), OPTIONS)
@pytest.mark.parametrize("recipe", ["alto", "emuon"])
def test_clipping_accumulation_and_mixed_precision_of_the_stack_move_every_weight(client, options, recipe, tmp_path):
    start = {name: p.detach().clone() for name, p in begin(client, tmp_path).named_parameters()}
    model, optimizer, _ = STACKS[client](recipe, tmp_path, **options)
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all()
        assert (parameter != start[name]).any(), name
    assert all(state["e.mean"].dtype == torch.float32 for state in optimizer.state.values())


def begin(client, folder):
    """The model before a stack's first step."""
    if client == "HF Trainer":
        return stacks.language_model()
    return stacks.network()


def test_the_hf_trainers_warm_up_begins_at_rest_and_then_moves_every_weight(tmp_path):
    start = {name: p.detach().clone() for name, p in stacks.language_model().named_parameters()}
    model, optimizer, _ = stacks.transformers("alto", tmp_path, warmup_steps=4)
    assert all((p != start[name]).any() for name, p in model.named_parameters())
    assert optimizer.param_groups[0]["lr"] < 0.01


def test_the_hf_trainers_groups_of_weight_decay_are_kept(tmp_path):
    _, optimizer, _ = stacks.transformers("alto", tmp_path, weight_decay=0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


def test_the_hf_trainer_takes_an_optimizer_that_knows_names(tmp_path):
    from transformers import Trainer, TrainingArguments

    model = stacks.language_model()
    optimizer = edsl.compile("alto", model, mode="eager")
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "logging_strategy": "no"}
    arguments = TrainingArguments(output_dir=str(tmp_path), max_steps=2, save_strategy="no", **quiet)
    row = torch.zeros(stacks.LENGTH, dtype=torch.long)
    data = [{"input_ids": row, "labels": row}] * 8
    before = model.transformer.wte.weight.detach().clone()
    Trainer(model, arguments, train_dataset=data, optimizers=(optimizer, None)).train()
    assert (model.transformer.wte.weight != before).any()
    assert "transformer.ln_f.weight" in optimizer.param_groups[0]["exclude"]


def test_a_grad_scaler_is_refused_by_what_needs_a_closure():
    assert list(refused("GradScaler")) == [name for name in RECIPES if edsl.parse(name).estimator.needs_closure]


def test_docs_compatibility_is_what_the_tests_go_by():
    assert DOC.read_text() == page(), "run make compatibility"
