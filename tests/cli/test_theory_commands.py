"""The theory commands as a user types them."""

import json
import subprocess
import sys

import pytest
from shell import imported_by, run

from edsl.cli import main as cli


def test_negative_numbers_are_ordinary_arguments():
    code, out, _ = run("check-stability", "-5", "0.99", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["stable"] is True
    assert report["simple_bound"] == 100
    assert report["stable_sharpness"] == pytest.approx(40.0106, abs=5e-5)
    keys = {"alpha", "beta1", "beta2", "simple_bound", "ode_interval", "stable_sharpness", "limited_by", "stable"}
    assert keys <= set(report)
    assert run("check-stability", "-.5e1", ".99")[0] == 0


def test_exit_codes_are_0_stable_1_not_stable():
    assert run("check-stability", "-5", "0.99", "--lr", "0.01", "--curvature", "-1:100")[0] == 0
    code, out, _ = run("check-stability", "-99", "0.99", "--lr", "0.01", "--curvature", "0:20")
    assert code == 1
    assert "Not stable: lr · curvature reaches 0.2" in out
    assert "accepts this, and the recurrence diverges" in out
    assert run("check-stability", "-500", "0.99")[0] == 1


def test_negative_curvature_is_said_to_be_unstable():
    _, out, _ = run("check-stability", "-5", "0.99", "--lr", "0.01", "--curvature", "-1:100")
    assert "negative curvature the recurrence is unstable for every alpha" in out


def test_ranges_below_0_and_across_it_are_judged_by_the_recurrence():
    code, out, _ = run("check-stability", "-5", "0.99", "--lr", "0.01", "--curvature", "-5:-1")
    assert (code, "Not stable: of the curvatures from -5 to -1, none converges" in out) == (1, True)
    code, out, _ = run("check-stability", "--spec", "adamw(lr=0.1, weight_decay=2)", "--curvature", "-1:10")
    assert code == 0
    assert "all converge, in this pipeline's own recurrence with its weight decay" in out
    assert "unstable for every alpha" not in out
    code, out, _ = run("check-stability", "--spec", "sgd(lr=1.8412, weight_decay=1.609)")
    assert code == 1
    assert "any step size" not in out


def test_spec_is_analysed_by_its_own_recurrence():
    spec = "grad | e(alpha=-5, beta1=0.99) | adam(lr=0.001)"
    code, out, _ = run("check-stability", "--spec", spec, "--curvature", "0:2000")
    assert code == 0
    assert "√v̂ is frozen" in out
    assert "minimal 0.98947" in out
    assert run("check-stability", "--spec", spec, "--curvature", "0:50000")[0] == 1


def test_check_stability_imports_no_torch():
    assert not {"torch", "sympy", "scipy"} & imported_by("check-stability", "-5", "0.99")
    assert "torch" not in imported_by("explain", "eadam")
    assert "torch" not in imported_by("check-regret")


def test_check_regret_prints_every_condition():
    code, out, _ = run("check-regret")
    assert code == 0
    for part in ("0.8182", "2.345", "only while training", "vacuous", "q_k non-decreasing"):
        assert part in out
    assert out.startswith(
        "beta2 = 0.9, beta3 = 0.99; no schedule given for lr, alpha and weight decay: 1/√k is assumed"
    )
    assert run("check-regret", "--beta3", "0.5")[0] == 1
    assert run("check-regret", "--lr-schedule", "0.99**k")[0] == 1
    _, out, _ = run("check-regret", "--json", "--lr-schedule", "1")
    assert json.loads(out, parse_constant=pytest.fail)["theorem2"][1]["value"] is None
    code, out, _ = run("check-regret", "--json", "--alpha-schedule", "-5/sqrt(k)")
    assert json.loads(out)["hyperparameters_hold"] is True
    assert json.loads(out)["assumed"] == ["lr", "weight decay"]
    spec = "grad | e(alpha=-90) | lamb(m_reads='g')"
    code, out, _ = run("check-regret", "--json", "--spec", spec, "--lr-schedule=-1/sqrt(k)")
    assert code == 1
    assert "17.39" in out
    assert "is below 0 at" in out


def test_explain_prints_filter_stability_and_relations():
    code, out, _ = run("explain", "grad | e(alpha=-9, beta1=0.9) | sgd(lr=0.1)")
    assert code == 0
    for part in ("H(z) = z/(10*z - 9)", "heavy ball", "lr · curvature < 38"):
        assert part in out
    code, out, _ = run("explain", "alto(m_reads='g')")
    assert "lamb has no linear model" in out
    assert "none: the momentum of lamb reads the raw gradient" in " ".join(out.replace("│", " ").split())
    _, out, _ = run("explain", "alto", "--latex")
    assert out.startswith("\\begin{align*}\n  g_k &= \\nabla f(\\theta_{k-1})")
    _, out, _ = run("explain", "alto", "--markdown")
    assert out.startswith("# `grad | e(alpha=-5")
    code, _, err = run("explain", "torch.AdamW()", "--json")
    assert code == 2
    assert "does not know its recurrence" in err


def test_an_update_alone_has_one_filter_to_draw(tmp_path, monkeypatch):
    from edsl.cli.plots import frequency
    from edsl.theory.stability import plot

    drawn = []
    monkeypatch.setattr(plot, "save_bode", lambda out, spec, filters: drawn.append(list(filters)))
    for spec in ("adam", "grad | e | adam", "grad | e | lion"):
        frequency(spec, tmp_path / "b.png")
    assert [[name.partition(",")[0] for name in names] for names in drawn] == [
        ["whole"],
        ["adaptors", "whole"],
        ["adaptors"],
    ]


def test_map_and_frequency_draw_pictures(tmp_path):
    for words in (("map", "esgd", "--x", "alpha=-100:100", "--y", "beta1=0:0.999"), ("frequency", "eadam")):
        out = tmp_path / f"{words[0]}.png"
        code, _, err = run(*words, "--out", str(out))
        assert code == 0
        assert f"drawn: {out}" in err
        assert out.read_bytes()[:4] == b"\x89PNG"
        assert out.stat().st_size > 20_000


BAD = [
    (("check-stability", "-5", "1"), "beta1 must lie in [0, 1), got 1"),
    (("check-stability", "nan", "0.9"), "alpha must be a finite number, got nan"),
    (("check-stability", "x", "0.9"), "ALPHA must be a number, got 'x'"),
    (("check-stability", "-5", "nan"), "beta1 must lie in [0, 1), got nan"),
    (("check-stability", "-5"), "give ALPHA and BETA1"),
    (("check-stability", "-5", "0.9", "--lr", "0.1"), "--lr and --curvature go together"),
    (("check-stability", "-5", "0.9", "--lr", "0.1", "--curvature", "5:1"), "LOW ≤ HIGH, got 5:1"),
    (("check-stability", "-5", "0.9", "--lr", "0.1", "--curvature", "a:b"), "--curvature must be LOW:HIGH"),
    (("check-stability", "-5", "0.9", "--lr", "-1", "--curvature", "0:1"), "lr must be a number above 0"),
    (("check-stability", "-5", "0.9", "--momentum", "max"), "--momentum must be ema or sum, got 'max'"),
    (("check-stability", "-5", "0.9", "--nope"), "--nope"),
    (("check-stability", "--spec", "alto"), "lamb has no linear model"),
    (("check-stability", "--spec", "grad | e | clip(norm=1) | sgd"), "clip has no linear model"),
    (("check-stability", "--spec", "foo"), "unknown stage 'foo'"),
    (("check-stability", "-5", "0.9", "--spec", "esgd"), "give --spec alone"),
    (("check-regret", "--beta2", "1.5"), "--beta2 must lie in [0, 1), got 1.5"),
    (("check-regret", "--lr-schedule", "import os"), "can't read this schedule"),
    (("check-regret", "--spec", "sgd"), "Theorem 2 is about updates with two moments"),
    (("check-regret", "--lr-schedule", "1e400"), "this number is too large for a float"),
    (("check-regret", "--lr-schedule", "(1+(-1)**k)/sqrt(k)"), "can't analyse this schedule: a power has no limit"),
    (("check-regret", "--gradient-bound", "inf"), "--gradient-bound must be a number above 0"),
    (("check-regret", "--spec", "grad | clip(norm=1) | lamb(v_reads='g')"), "clip has no linear model"),
    (("check-stability", "1e300", "0.5"), "alpha must lie within"),
    (("check-stability", "--spec", "sgd(lr=1e-320)"), "the largest stable curvature is beyond all floats"),
    (("check-stability", "-5", "0.9", "--lr", "0.1", "--curvature", "nan"), "--curvature must be LOW:HIGH"),
    (("map", "esgd", "--curvature", "nan", "--out", "m.png"), "--curvature must be a number above 0, got nan"),
    (("map", "esgd", "--x", "lr=-1:1", "--out", "m.png"), "lr must lie in [0, ∞), got -1:1"),
    (("equivalent", "alto", "sgd"), "lamb has no linear model"),
    (("explain", "alto", "--latex", "--json"), "choose one: --latex, --markdown or --json"),
    (("map", "esgd", "--x", "alpha", "--out", "m.png"), "--x must be NAME=LOW:HIGH"),
    (("map", "esgd", "--x", "gamma=0:1", "--out", "m.png"), "unknown hyper-parameter 'gamma'"),
    (("map", "esgd", "--y", "beta1=0:1", "--out", "m.png"), "beta1 must lie in [0, 1), got 0:1"),
    (("map", "esgd", "--out", "m.docx"), "its name must end in .png"),
    (("map", "esgd", "--out", "/proc/nope/m.png"), "can't write /proc/nope/m.png"),
    (("map", "esgd", "--curvature", "-1", "--out", "m.png"), "--curvature must be a number above 0, got -1"),
    (("map", "esgd", "--x", "alpha=-1e30:1e30", "--out", "m.png"), "alpha must lie in [-10000, 10000] on a map"),
    (("map", "adam", "--out", "m.png"), "adam stands without e: name the axes by --x and --y, of lr, beta2"),
    (("map", "adam", "--x", "lr=0.1:1", "--out", "m.png"), "adam stands without e: name the axes by --x and --y"),
    (("frequency", "grad | clip(norm=1) | sgd", "--out", "b.png"), "clip has no linear model"),
    (("frequency", "lion", "--out", "b.png"), "nothing to draw: lion has no linear model"),
]


@pytest.mark.parametrize(("words", "part"), BAD)
def test_bad_input_is_one_message_and_exit_code_2(words, part, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["edsl", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    _, err = capsys.readouterr()
    assert ended.value.code == 2
    assert part in err
    assert "Traceback" not in err


def test_plots_without_matplotlib_say_what_to_install(tmp_path):
    program = """
import sys
sys.modules["matplotlib"] = None
sys.argv = ["edsl", "map", "esgd", "--out", "m.png"]
from edsl.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'edsl-optim[plot]'" in done.stderr


def test_compare_watches_regret_on_demand(tmp_path):
    words = ("compare", "digits", "adam", "sgd", "--steps", "5", "--seeds", "1", "--monitor", "regret", "--json")
    code, out, _ = run(*words, "--out", str(tmp_path / "race"))
    rows = json.loads(out)["rows"]
    assert code == 0
    assert 0 <= rows[0]["regret_fired"] <= 1
    assert rows[1]["regret_fired"] is None
