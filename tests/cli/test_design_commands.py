"""certify, design, and what check-stability and map say of late and noisy gradients, as a user types them."""

import json

import pytest
from shell import imported_by, run

SLOW = "grad | e(alpha=-50) | sgd(momentum=0.9, average='ema')"


def test_certify_prints_what_holds_and_what_cycles_and_exits_by_it():
    code, out, _ = run("certify", SLOW, "--condition", "1000", "--json")
    found = json.loads(out)
    assert code == 0
    keys = {"stable_sharpness", "certified_sharpness", "cycle_sharpness", "rate", "rate_sharpness", "condition"}
    assert keys <= found.keys()
    assert found["certified_sharpness"] == pytest.approx(13.5465, rel=1e-4)
    assert found["cycle_sharpness"] == pytest.approx(13.566, rel=1e-4)
    code, out, _ = run("certify", "sgd(lr=9, momentum=0.9, average='ema')", "--condition", "1000")
    assert code == 1
    assert "it cycles for ever, with period 8; from 1 % beside it, too" in out
    code, out, _ = run("certify", "eadam", "--condition", "10")
    assert "of the linear model that the notes describe" in out
    assert "√v̂ is frozen" in out


def test_certify_runs_the_cycle_in_the_optimizer(tmp_path):
    out_file = tmp_path / "c.png"
    spec = "sgd(lr=9, momentum=0.9, average='ema')"
    code, out, err = run("certify", spec, "--condition", "1000", "--run", "--out", str(out_file), "--json")
    assert code == 1
    ran = json.loads(out)["run"]
    assert ran["off_after_one"] < 1e-9
    assert ran["off_after_push"] < 1e-6
    assert f"drawn: {out_file}" in err
    assert out_file.stat().st_size > 20_000


def test_check_stability_keeps_its_keys_under_delay_and_batch_noise():
    plain = json.loads(run("check-stability", "-5", "0.99", "--json")[1])
    late = json.loads(run("check-stability", "-5", "0.99", "--json", "--delay", "1")[1])
    noisy = json.loads(run("check-stability", "-5", "0.99", "--json", "--batch-noise", "0.3")[1])
    assert plain.keys() <= late.keys() == noisy.keys()
    assert late["stable_sharpness"] == pytest.approx(1.04754, rel=1e-5)
    assert noisy["stable_sharpness"] == pytest.approx(14.7167, rel=1e-5)
    assert noisy["limited_by"] == "noise"
    words = ("--spec", "eadam", "--batch", "256", "--noise-scale", "2000", "--curvature", "0:100")
    code, out, _ = run("check-stability", *words)
    assert code == 0
    assert "96.1704" in out  # the batch from which on this curvature is stable
    assert run("check-stability", "--spec", "eadam", "--delay", "1", "--curvature", "0:2000")[0] == 1


def test_design_prints_the_best_values_with_and_without_e(tmp_path):
    out_file = tmp_path / "d.svg"
    words = ("--spectrum", "0.1:1", "--over", "lr,alpha", "--out", str(out_file))
    code, out, _ = run("design", "esgd", *words)
    assert code == 0
    for part in ("best without E", "Polyak's heavy ball", "as given", "steps a digit"):
        assert part in out
    assert out_file.exists()
    code, out, _ = run("design", "sgd(lr=0.1)", "--spectrum", "1:10", "--json")
    found = json.loads(out)
    assert found["best"]["rate"] == pytest.approx(9 / 11, abs=1e-5)
    assert found["best"]["values"]["lr"] == pytest.approx(2 / 11, rel=1e-3)
    assert found["without_e"] is None
    code, out, _ = run("design", "sgd(lr=0.1)", "--over", "lr", "--of", "certified", "--condition", "10")
    assert code == 0
    for part in ("every f with curvatures from 0.1 to 1", "certified rate", "triple momentum", "0.818"):
        assert part in out


def test_explain_says_what_steps_do_beside_converging():
    _, out, _ = run("explain", "grad | e(alpha=-50) | adam", "--json")
    found = json.loads(out)
    assert found["noise_factor"] == pytest.approx(1.995, abs=5e-4)
    assert found["small_steps"]["delay"] == pytest.approx(59)
    assert found["degrees"]["step"] == [0, 0]
    _, out, _ = run("explain", "adamw(weight_decay=0.1)")
    assert "rad a step, at ‖θ‖ =" in " ".join(out.replace("│", " ").split())


def test_maps_of_other_quantities_are_drawn(tmp_path):
    for words in (("delay", "--delay", "1"), ("rate", "--spectrum", "0.1:1")):
        out = tmp_path / f"{words[0]}.png"
        code, _, err = run("map", "esgd", "--of", *words, "--out", str(out))
        assert code == 0, err
        assert out.stat().st_size > 15_000


BAD = [
    (("certify", "sgd"), "Missing option '--condition'"),
    (("certify", "sgd", "--condition", "1"), "--condition must be a number above 1, got 1"),
    (("certify", "sgd", "--condition", "nan"), "--condition must be a number above 1, got nan"),
    (("certify", "sgd", "--condition", "9", "--smoothness", "0"), "--smoothness must be a number above 0, got 0"),
    (("certify", "sgd(lr=0)", "--condition", "9"), "nothing to certify: the gradient does not move θ, since lr is 0"),
    (("certify", "lion", "--condition", "9"), "lion has no linear model: a sign, whose slope at 0 nothing bounds"),
    (("certify", "sgd(lr=1)", "--condition", "9", "--run"), "nothing to run: no cycle of up to 60 steps was found"),
    (("certify", "sgd", "--condition", "9", "--out", "x.gif"), "can't draw into x.gif"),
    (("check-stability", "-5", "0.99", "--delay", "-1"), "--delay must lie in [0, 32], got -1"),
    (("check-stability", "-5", "0.99", "--delay", "999"), "--delay must lie in [0, 32], got 999"),
    (("check-stability", "-5", "0.99", "--batch-noise", "nan"), "--batch-noise must lie in"),
    (("check-stability", "-5", "0.99", "--batch", "64"), "--batch and --noise-scale go together"),
    (
        ("check-stability", "-5", "0.99", "--batch", "0", "--noise-scale", "9"),
        "--batch must be a number above 0, got 0",
    ),
    (("design", "esgd", "--spectrum", "2:1"), "--spectrum must be LOW:HIGH with 0 < LOW ≤ HIGH, got 2:1"),
    (("design", "esgd", "--spectrum", "1:2", "--over", "gamma"), "unknown hyper-parameter 'gamma'"),
    (("design", "lamb", "--spectrum", "1:2"), "lamb has no linear model"),
    (("design", "esgd"), "give --spectrum LOW:HIGH, or --condition KAPPA"),
    (("design", "esgd", "--condition", "1"), "--condition must be a number above 1, got 1"),
    (("design", "esgd", "--of", "batch", "--condition", "9"), "--delay and --batch-noise are of --of rate"),
    (("design", "esgd", "--of", "certified", "--condition", "9", "--delay", "1"), "have no effect with --of certified"),
    (("design", "sgd | lookahead", "--of", "certified", "--condition", "9"), "lookahead has no linear model"),
    (("map", "esgd", "--of", "delays", "--out", "m.png"), "unknown --of 'delays'; did you mean 'delay'?"),
    (("map", "esgd", "--of", "rate", "--out", "m.png"), "--of rate needs --spectrum"),
    (("map", "esgd", "--condition", "9", "--out", "m.png"), "--condition has no effect with --of stability"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_code_2(words, said):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("certify", "sgd", "--condition", "10"),
        ("check-stability", "--spec", "eadam", "--delay", "1", "--batch-noise", "0.3"),
        ("design", "sgd", "--over", "lr", "--of", "certified", "--condition", "10"),
    ],
    ids=lambda words: words[0],
)
def test_theory_imports_no_torch(words):
    assert "torch" not in imported_by(*words)
