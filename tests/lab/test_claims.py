"""Every claim of the paper runs by one command, and the page of them can be written claim by claim."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from shell import run

from edsl.lab.benchmarks.footprint import held_by
from edsl.lab.claims import fig5, memory
from edsl.lab.claims.catalogue import CLAIMS, LARGE, claim
from edsl.lab.claims.claim import VERDICTS
from edsl.lab.claims.writing import markdown

pytest.importorskip("matplotlib")
ROOT = Path(__file__).parents[2]
HERE = ("times",)  # in the default run: some seconds


def checked(name, folder):
    found = claim(name)(folder, True)
    assert found.name == name
    assert found.verdict in VERDICTS
    assert found.table
    assert all(picture.stat().st_size > 5_000 for picture in found.pictures)
    assert f"    edsl reproduce {name}\n" in markdown(found, folder / "pictures", folder)
    return found


@pytest.mark.parametrize("name", HERE)
def test_a_claim_runs_at_small_size(name, tmp_path):
    checked(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in (*HERE, *LARGE)])
def test_every_claim_runs_at_small_size(name, tmp_path):
    if name == "cartpole":
        pytest.importorskip("gymnasium")
    checked(name, tmp_path)


def pictures(folder):
    """A copy of CIFAR-100 in miniature: 24 training images and 6 for the test."""
    np = pytest.importorskip("numpy")
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 6)):
        for place in range(count):
            file = folder / split / "ab"[place % 2] / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LARGE)
def test_a_claim_of_the_papers_own_networks_runs_on_a_folder_of_pictures(name, tmp_path, monkeypatch):
    """Six trainings of VGG-16 and three of ResNet-18, of one or two steps: some 10 seconds of one core each."""
    pytest.importorskip("datasets")
    pictures(tmp_path / "data")
    monkeypatch.setenv("EDSL_DATA", str(tmp_path / "data"))
    (tmp_path / "out").mkdir()
    found = checked(name, tmp_path / "out")
    assert "cifar100" in found.commands


def test_large_claims_are_left_out_of_all_and_ask_for_their_data(tmp_path):
    assert set(LARGE) < set(CLAIMS)
    assert fig5.RESNET18.amounts["batch"] == 16384
    code, out, err = run(
        "reproduce", "fig5-resnet18", "--out", str(tmp_path), env={**os.environ, "EDSL_DATA": "/no/such"}
    )
    assert (code, out) == (2, "")
    assert "task cifar100: /no/such is no folder that can be read" in err


def test_planned_memory_is_what_a_process_holds():
    one = memory.weighed("grad | e | sgd(momentum=0.9)", "resnet20", "cpu")
    assert one.held.state == one.planned_state == 8 * one.parameters
    if one.ratio is None:
        pytest.skip("this system does not tell what is resident")
    assert abs(one.held.peak - one.planned_peak) < 3e6  # pages and rounding, of 4 MB


@pytest.mark.slow
def test_measured_peaks_are_within_a_hundredth_of_the_planned_where_tensors_are_large():
    for spec in ("adam", "grad | e(buffers=2) | lamb"):
        one = memory.weighed(spec, "mlp", "cpu")
        assert one.ratio == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_a_failing_step_in_the_fresh_process_is_one_line():
    with pytest.raises(ValueError, match="muon: steps in a fresh process failed: "):
        held_by("muon", {"bias": (3,)}, "cpu")


def reproduce():
    """docs/reproduce.py as a module."""
    spec = importlib.util.spec_from_file_location("reproduce_page", ROOT / "docs" / "reproduce.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_its_sections_and_one_may_be_replaced_alone():
    module = reproduce()
    text = (ROOT / "docs" / "reproduction.md").read_text()
    head, sections = text.partition(module.TITLES)[0], module.sections_of(text)
    assert set(sections) >= {name for name in CLAIMS if name not in LARGE}
    assert module.page(head, sections) == text
    changed = {**sections, "fig8": sections["fig8"].replace("# ", "# New ", 1)}
    before, after = text.splitlines(), module.page(head, changed).splitlines()
    assert [line for line in before if "fig8" not in line.lower() and "figure 8" not in line.lower()] == [
        line for line in after if "fig8" not in line.lower() and "figure 8" not in line.lower()
    ]


def test_pictures_of_the_page_are_there():
    named = [line.split("](")[1].rstrip(")") for line in (ROOT / "docs/reproduction.md").read_text().splitlines()
             if line.startswith("![")]  # fmt: skip
    assert named
    assert all((ROOT / "docs" / place).exists() for place in named)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_measures_named_claims_alone():
    said = subprocess.run(
        ["make", "-n", "reproduction", "CLAIMS=memory times"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "docs/reproduce.py memory times" in said.stdout
