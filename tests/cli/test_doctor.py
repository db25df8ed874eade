"""edsl doctor: what it says of a machine in order, and of one without a compiler, a cache, a home or a torch."""

import json
import os
import re
from pathlib import Path

import pytest
from shell import run_anew

from edsl.cli import doctor
from edsl.lab.doctor import packages
from edsl.lab.doctor.caches import caches
from edsl.lab.doctor.examination import examine
from edsl.lab.doctor.findings import StepCheck, examined
from edsl.lab.doctor.machine import compilers
from edsl.lab.doctor.packages import Requirement, is_old, requirements


@pytest.fixture(scope="module")
def found():
    return examine()


def printed(found, monkeypatch, capsys, as_json=False):
    monkeypatch.setattr(doctor, "examine", lambda: found)
    with pytest.raises(SystemExit) as ended:
        doctor.doctor(as_json)
    return ended.value.code, capsys.readouterr().out


def test_a_machine_in_order_steps_as_its_references_do_and_exits_with_0(found, monkeypatch, capsys):
    code, out = printed(found, monkeypatch, capsys)
    assert code == 0, out
    assert out.splitlines()[-1] in ("all is well", "it works; see the notes above")
    steps = re.findall(r"^  .* cpu f\d\d .*$", out, re.MULTILINE)
    assert len(steps) == len(found.steps) >= 8
    assert all(line.endswith(" right") and " C++" in line for line in steps)


def test_its_lines_fit_80_columns_and_tell_no_users_name(found, monkeypatch, capsys):
    _, out = printed(found, monkeypatch, capsys)
    assert max(map(len, out.splitlines())) <= 80
    assert not re.search(rf"{re.escape(str(Path.home()))}(/|$)", out)


def test_json_holds_the_same(found, monkeypatch, capsys):
    code, out = printed(found, monkeypatch, capsys, as_json=True)
    said = json.loads(out)
    assert code == 0
    assert {name: said[name] for name in found.sections} == found.sections
    assert said["fails"] is False
    assert [step["right"] for step in said["steps"]] == [True] * len(found.steps)
    assert all(step["difference"] <= step["tolerance"] for step in said["steps"])


def test_a_wrong_step_fails_with_what_to_do(monkeypatch):
    from dataclasses import replace

    from edsl.lab.doctor import steps

    trial = steps._trials()[0]
    monkeypatch.setattr(steps, "_trials", lambda: [replace(trial, reference=steps.torchs("AdamW", lr=0.02))])
    found = examine()
    assert found.fails
    (problem,) = (one for one in found.problems if one.fails)
    assert "adamw(lr=0.01, weight_decay=0.1) on cpu in float32 is 0." in problem.what
    assert "empty edsl's cache" in problem.advice


def test_a_step_that_is_no_number_is_wrong():
    check = StepCheck("kind", "spec", "cpu", "float32", "torch", "C++", "", float("nan"), 1e-5, 0.0)
    assert not check.is_right


def test_without_a_compiler_it_works_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    section = compilers()
    assert section.facts["C++"] == "none: CXX=no-such-compiler is not there"
    (problem,) = section.problems
    assert not problem.fails
    assert "unset CXX" in problem.advice
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = compilers().problems
    assert "install g++" in problem.advice


@pytest.mark.slow
def test_without_a_compiler_all_steps_are_right_all_the_same(tmp_path):
    empty = str(tmp_path / "empty")
    environment = {**os.environ, "PATH": empty, "CXX": "", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    code, out, _ = run_anew("doctor", env=environment)
    assert code == 0, out
    assert "no C++ compiler was found" in " ".join(out.split())
    assert out.count(" right\n") == out.count("torch.compile  ") + out.count(" eager ") == 8


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder somebody else's")
def test_another_users_cache_is_said_to_be_of_no_use(monkeypatch, tmp_path):
    theirs = tmp_path / "edsl" / "compiled"
    theirs.mkdir(parents=True)
    os.chown(theirs, 12345, 12345)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    section = caches()
    assert "another user's (uid 12345)" in section.facts["edsl's code"]
    (problem,) = section.problems
    assert "belongs to another user (uid 12345)" in problem.what
    assert "set XDG_CACHE_HOME" in problem.advice
    assert not problem.fails


def test_a_cache_that_can_not_be_written_is_said_to_be_of_no_use(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (problem,) = caches().problems
    assert "can't be made or read" in problem.what


def test_a_user_without_a_home_is_examined(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TRITON_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)
    section = caches()
    assert section.facts["edsl's code"] == section.facts["Triton"] == "there is no home folder"
    assert "set XDG_CACHE_HOME" in section.problems[0].what


@pytest.mark.parametrize(
    ("version", "said"), [("2.8.1+cu128", "torch 2.8.1+cu128 is older than 2.9"), ("", "torch is missing")]
)
def test_a_torch_that_is_old_or_missing_fails_before_any_step(monkeypatch, version, said):
    real = packages.installed
    monkeypatch.setattr(packages, "installed", lambda name: version if name == "torch" else real(name))
    found = examine()
    assert found.fails
    assert not found.steps
    assert said in found.problems[0].what
    assert "pip install" in found.problems[0].advice
    assert found.problems[-1].what == "no steps were taken"


def test_a_torch_that_does_not_load_is_one_line_and_exit_code_1(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: cannot open')")
    code, out, err = run_anew("doctor", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (code, err) == (1, "")
    assert "libtorch.so: cannot open" in " ".join(out.split())
    assert "fail" in out.splitlines()[-1]


def test_what_edsl_requires_is_read_from_its_own_metadata():
    found = requirements()
    assert Requirement("torch", "2.9", "") in found
    assert Requirement("lightning", "2.5", "integrations") in found
    assert "dev" not in {one.extra for one in found}
    assert is_old("2.8.1+cpu", "2.9")
    assert not is_old("2.13.0", "2.9")
    assert not is_old("3", "3.0")


def test_a_look_that_fails_is_a_problem_and_no_traceback():
    def look():
        raise OSError("the disk is gone")

    (problem,) = examined("caches", look).problems
    assert problem.fails
    assert problem.what == "caches: OSError: the disk is gone"
