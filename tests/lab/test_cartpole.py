"""Reinforcement learning as a task: whole episodes in gymnasium's environment, the same for every optimizer."""

import os
import subprocess
import sys

import pytest
import torch
from shell import run

from edsl.lab.tasks.catalogue import task
from edsl.lab.trials.run import run_trial
from edsl.lab.trials.setting import Setting

gymnasium = pytest.importorskip("gymnasium")


def acting(model, starts):
    """Lengths of episodes that gymnasium's own single environment plays with the greedy policy, and what it met."""
    lengths, met = [], []
    for start in starts:
        environment = gymnasium.make("CartPole-v1")
        environment.reset(seed=0)
        environment.unwrapped.state = tuple(start.tolist())
        state, steps, ended = start, 0, False
        while not ended:
            met.append(state)
            action = int(model.network(state)[0].argmax())
            observed, _, terminated, truncated, _ = environment.step(action)
            state, steps, ended = torch.from_numpy(observed), steps + 1, terminated or truncated
        lengths.append(steps)
    return lengths, torch.stack(met)


def test_episodes_are_those_of_gymnasiums_single_environment():
    model = task("cartpole").models["mlp"]().eval()
    starts = task("cartpole").data().test.inputs[:4]
    with torch.no_grad():
        found = model(starts)
        lengths, _ = acting(model, starts)
    assert found.lengths.tolist() == lengths
    assert min(lengths) >= 7  # a pole takes that long to fall


def test_the_loss_is_what_is_lost_and_its_gradient_the_actors_and_critics():
    chosen = task("cartpole")
    torch.manual_seed(0)
    model = chosen.models["mlp"]()
    episodes = model(chosen.data().train.inputs[:3])
    chosen.loss(episodes, None).backward(retain_graph=True)
    found = [parameter.grad.clone() for parameter in model.parameters()]
    assert float(chosen.loss(episodes, None).detach()) == pytest.approx(
        1 - float(episodes.lengths.float().mean()) / 500
    )
    model.zero_grad()
    errors, chances, entropies = [], [], []
    for episode in range(3):
        length = int(episodes.lengths[episode])
        for step in range(length):
            gain = sum(0.01 * 0.99**later for later in range(length - step))
            errors.append(gain - episodes.values[step, episode])
            chances.append(episodes.chosen[step, episode])
            entropies.append(episodes.entropy[step, episode])
    errors = torch.stack(errors)
    advantages = (errors - errors.mean()).detach() / (errors.detach().std(correction=0) + 1e-6)
    actor = -(advantages * torch.stack(chances)).mean()
    (actor + 0.5 * errors.square().mean() - 0.01 * torch.stack(entropies).mean()).backward()
    for ours, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_trial_is_the_same_twice_and_learns():
    setting = Setting("cartpole", "mlp", 8, 12, "cpu", 1)
    one, same = (run_trial(task("cartpole"), setting, "adam(lr=0.01)", 1) for _ in range(2))
    assert one.status == "ok"
    assert (one.train_loss, one.test_accuracy) == (same.train_loss, same.test_accuracy)
    assert one.test_accuracy > 3 * one.checkpoints[0]["accuracy"]


def test_without_gymnasium_the_task_is_refused_in_one_line(tmp_path, monkeypatch):
    broken = tmp_path / "gymnasium"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('not here')")
    program = "import sys; from edsl.cli.main import main; main()"
    words = [sys.executable, "-c", program, "compare", "adam", "--task", "cartpole", "--steps", "1"]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "edsl: task cartpole needs gymnasium 1 or later: pip install 'edsl-optim[rl]'\n"


def test_it_races_on_the_command_line(tmp_path):
    words = ("--task", "cartpole", "--steps", "2", "--batch", "2", "--seeds", "1", "--no-controls", "--jobs", "1")
    code, out, err = run("compare", "adam(lr=0.01)", *words, "--out", str(tmp_path / "race"))
    assert code == 0, err
    assert "cartpole (mlp), batch 2, 2 steps" in out
