"""The commands on a file with rules."""

import json
import sys
import warnings

import pytest

from edsl.cli.main import main
from edsl.language.rules import names

NADAM = '''
# NAdam, as torch has it
@update
def nadam(u, *, lr=0.002, beta1: decay = 0.9, beta2: decay = 0.999, eps=1e-8, momentum_decay: nonnegative = 0.004):
    """Dozat 2016: a momentum on a schedule, whose product so far is one number a layer."""
    mu = beta1 * (1 - 0.5 * 0.96 ** (k * momentum_decay))
    ahead = beta1 * (1 - 0.5 * 0.96 ** ((k + 1) * momentum_decay))
    product = mu * first(1, product)
    m = ema(m, u, beta1)
    v = ema(v, u * u, beta2)
    root = sqrt(debias(v, beta2)) + eps
    return -lr * ((1 - mu) / (1 - product) * u + ahead / (1 - product * ahead) * m) / root

grad | nadam
'''
HEAVY = """
@update
def heavy(u, *, lr=0.01, momentum: decay = 0.9, weight_decay=0.0):
    d = u + weight_decay * theta
    m = momentum * m + d
    return -lr * m

grad | e(alpha=-3, beta1=0.9) | heavy
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "nadam.edsl").write_text(NADAM)
    (tmp_path / "heavy.edsl").write_text(HEAVY)
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """A command in this process, run in the folder: (exit code, stdout, stderr)."""

    def called(*words):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["edsl", *words])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        monkeypatch.setattr(names, "_loaded", {})
        with pytest.raises(SystemExit) as ended:
            main()
        out, error = capsys.readouterr()
        return ended.value.code or 0, out, error

    return called


def test_show_prints_the_recurrence_of_a_rule_as_a_paper_would(folder, run):
    code, out, _ = run("show", "@heavy.edsl")
    assert code == 0
    assert "mₖ = μ mₖ₋₁ + uₖ" in out
    assert "θₖ = θₖ₋₁ − η mₖ" in out
    assert out.startswith("@update\ndef heavy(u, *, lr=0.01, momentum: decay = 0.9, weight_decay=0):")


def test_explain_and_check_stability_read_its_linear_part(folder, run):
    own = run("check-stability", "--spec", "@heavy.edsl", "--curvature", "0:100", "--json")
    theirs = run(
        *("check-stability", "--spec", "grad | e(alpha=-3, beta1=0.9) | sgd(lr=0.01, momentum=0.9)"),
        *("--curvature", "0:100", "--json"),
    )
    one, other = json.loads(own[1]), json.loads(theirs[1])
    assert own[0] == theirs[0]
    one.pop("spec"), other.pop("spec")
    assert one == other
    code, out, _ = run("explain", "@heavy.edsl")
    assert code == 0
    assert "stability" in out


def test_rule_equals_torchs_optimizer(folder, run):
    code, out, _ = run("verify", "@nadam.edsl", "--against", "torch.NAdam")
    assert code == 0
    assert "Equal: 50 steps in float64" in out


def test_rule_equals_the_stage_that_it_writes_again(folder, run):
    code, out, _ = run("equivalent", "@heavy.edsl", "grad | e(alpha=-3, beta1=0.9) | sgd(lr=0.01, momentum=0.9)")
    assert code == 0
    assert out.startswith("Equal")


def test_plan_counts_its_bytes(folder, run):
    code, out, _ = run("plan", "@heavy.edsl", "--params", "mlp", "--json")
    (plan,) = json.loads(out)["plans"]
    assert code == 0
    assert plan["state_per_parameter"] == 8
    assert plan["given"] == "grad | e(alpha=-3, beta1=0.9) | heavy"


def test_fmt_prints_what_reads_back_as_itself_and_writes_it(folder, run):
    code, out, _ = run("fmt", "nadam.edsl")
    assert code == 0
    assert "#" not in out
    (folder / "again.edsl").write_text(out)
    assert run("fmt", "again.edsl")[1] == out
    assert run("fmt", "--write", "nadam.edsl")[0] == 0
    assert (folder / "nadam.edsl").read_text() == out


def test_rules_of_a_file_are_names_for_every_spec(folder, run):
    code, out, _ = run("--rules", "heavy.edsl", "show", "grad | direction(heavy) | lamb")
    assert code == 0
    assert "direction(heavy(momentum=0.9))" in out
    assert run("--rules", ".", "show", "heavy")[0] == 0
    assert run("show", "heavy")[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "@none.edsl"), "none.edsl: no such file"),
        (("show", "@"), "write @FILE, with the name of a file"),
        (("fmt", "comment.edsl"), "comment.edsl: no rule and no pipeline found"),
        (("show", "@."), ".: expected a regular file with a spec"),
        (("show", "@bad.edsl"), "mm is read and never assigned; did you mean 'm'? (line 6)"),
        (("fmt", "bad.edsl"), "bad.edsl, line 6"),
        (("fmt", "none.edsl"), "none.edsl: no such file"),
        (("--rules", "none.edsl", "show", "sgd"), "none.edsl: no such file"),
        (("show", "grad | direction(sgd(lr=1)) | lamb"), "direction sets lr itself"),
    ],
)
def test_bad_files_end_in_a_message_and_code_2(folder, run, words, said):
    (folder / "comment.edsl").write_text("# to be written\n")
    (folder / "bad.edsl").write_text(HEAVY.replace("-lr * m", "-lr * mm"))
    code, _, error = run(*words)
    assert code == 2
    assert said in error
    assert "Traceback" not in error
