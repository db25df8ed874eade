"""Photographs in folders of classes, and the networks that are trained on them."""

import numpy as np
import pytest
import torch

import edsl
from edsl.lab.benchmarks.parameter_sets import parameter_set
from edsl.lab.data.pictures import DEVIATION, MEAN
from edsl.lab.executors.driver import run_to_end
from edsl.lab.executors.engines import executor
from edsl.lab.models.resnet_imagenet import resnet34, resnet50
from edsl.lab.races.build import open_record, race
from edsl.lab.tasks.catalogue import task

image = pytest.importorskip("PIL.Image")
SIZES = {"train": 24, "val": 6}


@pytest.fixture
def folder(tmp_path):
    """Three classes, each brightest in one colour."""
    random = np.random.default_rng(0)
    for split, count in SIZES.items():
        for place in range(count):
            pixels = random.integers(0, 80, (36, 48, 3), dtype=np.uint8)
            pixels[..., place % 3] += 150
            file = tmp_path / "pictures" / split / "abc"[place % 3] / f"{place}.{'png' if place % 2 else 'JPEG'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).save(file)
    return tmp_path / "pictures"


def test_a_folder_of_pictures_is_raced_resumed_and_reported(folder, tmp_path):
    asked = {"task": f"imagenet:{folder}", "batch": 8, "steps": 2, "out": tmp_path / "r"}
    first = edsl.compare(["adamw(lr=0.001)", "lamb"], seeds=1, controls=False, **asked)
    whole = edsl.compare(["adamw(lr=0.001)", "lamb"], seeds=2, controls=False, resume=True, **asked)
    assert whole.finished[:2] == first.finished
    assert not any(row.failed for row in whole.results.rows)
    assert "imagenet" in whole.report().read_text()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_pictures_give_the_same_bits_in_processes(engine, folder, tmp_path):
    if engine == "ray":
        pytest.importorskip("ray")
    chosen = race(f"imagenet:{folder}", ["adamw", "sgd"], model="resnet50", batch=8, steps=3, seeds=2)

    def losses(name, runner):
        rows = run_to_end(chosen, open_record(chosen, tmp_path / name, False), lambda _: None, runner).rows
        return [(row.train_loss, row.test_loss) for row in rows]

    assert losses("a", None) == losses("b", executor(engine, 2))


def test_splits_are_shuffled_held_out_and_labelled(folder):
    chosen = task(f"imagenet:{folder}")
    data = chosen.data()
    assert [len(split.inputs) for split in data] == [23, 1, 6]
    assert chosen.data() is data
    for split in data:
        assert [ord(file.parent.name) - ord("a") for file in split.inputs.files] == split.targets.tolist()
    assert len({*data.train.targets[:8].tolist()}) == 3
    whole = data.test.inputs.to("cpu")
    assert whole.shape == (6, 3, 36, 36)
    brightest = (
        (whole * torch.tensor(DEVIATION).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)).mean((2, 3)).argmax(1)
    )
    assert brightest.equal(data.test.targets)


def test_the_crop_from_the_middle_is_the_pictures_own(tmp_path):
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    for split in SIZES:
        (tmp_path / split / "a").mkdir(parents=True)
        for name in "xy":
            image.fromarray(ramp.copy()).save(tmp_path / split / "a" / f"{name}.png")
    (pixels,) = task(f"imagenet:{tmp_path}").data().test.inputs[:1].to("cpu")
    raw = pixels[0] * DEVIATION[0] + MEAN[0]
    assert raw.shape == (224, 224)
    assert torch.allclose(raw[0] * 255, torch.arange(16.0, 240.0), atol=0.02)


def test_augmentation_is_the_generators_and_flips_and_crops(folder):
    chosen = task(f"imagenet:{folder}")
    inputs = chosen.data().train.inputs[torch.tensor([0] * 40)]
    assert chosen.augment is not None
    first, again, other = (chosen.augment(inputs, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == (40, 3, 36, 36)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({crop.numpy().tobytes() for crop in first}) > 30


def test_networks_have_the_parameters_of_their_docstrings_and_known_names():
    for build in (resnet34, resnet50):
        with torch.device("meta"):
            model = build(1000)
        assert f"{sum(parameter.numel() for parameter in model.parameters()):,}" in str(build.__doc__)
    named = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert named == parameter_set("resnet50")
    images = torch.randn(2, 3, 64, 64)
    loss = torch.nn.functional.cross_entropy(resnet34(10)(images), torch.tensor([1, 2]))
    loss.backward()
    assert 1 < loss.item() < 6


def test_bad_folders_are_one_line(folder, tmp_path):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    (tmp_path / "hollow" / "train" / "a").mkdir(parents=True)
    (tmp_path / "untested" / "train").mkdir(parents=True)
    (folder / "train" / "a").rename(tmp_path / "untested" / "train" / "a")
    (folder / "val" / "z").mkdir()
    (folder / "val" / "z" / "1.png").write_bytes(b"rubbish")
    for name, message in (
        ("imagenet", "name a folder with train/CLASS/ and val/CLASS/, imagenet:FOLDER"),
        (f"imagenet:{tmp_path}", "has no folder train"),
        (f"imagenet:{tmp_path / 'empty'}", "has no folders of classes"),
        (f"imagenet:{tmp_path / 'hollow'}", "holds no pictures (.jpeg, .jpg, .png, .bmp, .webp)"),
        (f"imagenet:{tmp_path / 'untested'}", "has no folder val, validation or test"),
        (f"imagenet:{folder}", "a is of no class in"),
    ):
        with pytest.raises(edsl.EdslError) as raised:
            race(name, ["sgd"], batch=1, steps=1)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_damaged_picture_is_named(folder):
    data = task(f"imagenet:{folder}").data()
    data.test.inputs.files[0].write_bytes(b"rubbish")
    with pytest.raises(edsl.EdslError, match=r"is no picture that can be read \(UnidentifiedImageError"):
        data.test.inputs.to("cpu")
