"""Tasks: what their data, models and optima are, and where their data come from."""

import hashlib
import math
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from edsl.errors import EdslError, EdslWarning
from edsl.lab.benchmarks.parameter_sets import parameter_set
from edsl.lab.data import tokens
from edsl.lab.data.cache import kept, mapped
from edsl.lab.data.windows import windows
from edsl.lab.models.decoder import Experts
from edsl.lab.models.gpt2 import gpt2
from edsl.lab.tasks import cifar, logistic, quadratic
from edsl.lab.tasks import python_bytes as python_bytes_file
from edsl.lab.tasks import text as text_file
from edsl.lab.tasks.catalogue import TASKS, task
from edsl.lab.tasks.task import Scale, Split, Task

SIZES = {  # train, validation, test
    "digits": (1257, 270, 270),
    "cancer": (398, 85, 86),
    "mnist1d": (16000, 2000, 2000),
    "sine": (32768, 4096, 4096),
    "quadratic": (8192, 1024, 1024),
    "logistic": (8192, 1024, 1024),
}
if find_spec("gymnasium") is not None:
    SIZES["cartpole"] = (4096, 64, 128)
OFFLINE = [*SIZES, "bytes"]
PARAMETERS = {
    "digits": {"mlp": 17_226, "cnn": 7_638, "linear": 650},
    "cancer": {"mlp": 1_554, "linear": 62},
    "mnist1d": {"mlp": 15_210, "cnn": 5_210, "gru": 7_834},
    "sine": {"mlp": 4_353},
    "quadratic": {"linear": 50},
    "logistic": {"linear": 30},
    "bytes": {"tiny": 124_672, "small": 1_040_768, "large": 9_987_200, "moe": 323_712},
    "cartpole": {"mlp": 4_675},
    "cifar10": {"resnet20": 272_474, "resnet18": 11_173_962, "vgg16": 14_724_042},
    "cifar100": {"resnet20": 278_324, "resnet18": 11_220_132, "vgg16": 14_770_212},
}
CLASSES = {"digits": 10, "cancer": 2, "mnist1d": 10, "bytes": 256, "cifar10": 10, "cifar100": 100}


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    for name in ("EDSL_DATA", "EDSL_TOKENIZER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edsl"


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    found = pytest.importorskip("datasets")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    found.disable_progress_bars()
    return found


def first_rows(split: Split, most: int = 64) -> Split:
    rows = torch.arange(min(most, len(split.inputs)))
    return Split(split.inputs[rows], split.targets[rows])


def digest(name: str) -> str:
    found = hashlib.sha256()
    for split in task(name).data():
        for part in first_rows(split, 500):
            found.update(part.numpy().tobytes())
    return found.hexdigest()


def parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# --- every task ---


def test_tasks_are_listed_without_torch():
    program = "import sys, edsl.lab.tasks.catalogue; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("name", OFFLINE)
def test_data_are_the_same_at_each_call(name):
    chosen = task(name)
    before = digest(name)
    assert chosen.about == TASKS[name][1]
    chosen.data.cache_clear()
    assert digest(name) == before


def test_data_are_the_same_in_another_process():
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_tasks import OFFLINE, digest
for name in OFFLINE:
    print(digest(name))
"""
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert out.split() == [digest(name) for name in OFFLINE]


@pytest.mark.parametrize(("name", "sizes"), SIZES.items())
def test_splits_have_the_promised_sizes_and_share_no_example(name, sizes):
    data = task(name).data()
    assert tuple(len(split.inputs) for split in data) == sizes
    assert tuple(len(split.targets) for split in data) == sizes
    train, *held = ({row.numpy().tobytes() for row in split.inputs.flatten(1)} for split in data)
    shared = (train & held[0]) | (train & held[1]) | (held[0] & held[1])
    assert len(shared) <= (20 if name == "sine" else 0)  # of 40,960 numbers in single precision, some are equal


@pytest.mark.parametrize(("name", "model"), [(name, model) for name in PARAMETERS for model in PARAMETERS[name]])
def test_model_has_the_parameters_of_its_docstring(name, model):
    count = PARAMETERS[name][model]
    builder = task(name).models[model]
    with torch.device("meta"):
        assert parameters(builder()) == count
    said = getattr(builder, "func", builder).__doc__
    assert f"{count:,}" in said


@pytest.mark.parametrize(("name", "model"), [(name, model) for name in OFFLINE for model in PARAMETERS[name]])
def test_untrained_model_has_a_finite_loss_and_gradient_and_knows_nothing(name, model):
    chosen = task(name)
    rows = first_rows(chosen.data().train, 4 if name == "bytes" else 256)
    found = chosen.models[model]()
    loss = chosen.loss(found(rows.inputs), rows.targets)
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(parameter.grad.isfinite().all() for parameter in found.parameters())
    assert any(parameter.grad.any() for parameter in found.parameters())
    if name in CLASSES:
        assert loss.item() == pytest.approx(math.log(CLASSES[name]), rel=0.25)
    if chosen.accuracy is not None:
        assert 0 <= chosen.accuracy(found(rows.inputs), rows.targets) <= 1


def test_every_task_is_tested():
    landscapes = {"cardioid", "rosenbrock", "f1", "f2"}
    elsewhere = {"glue", "imdb", "conll2003", "imagenet", "lightbench"}  # in test_finetuning.py and others
    assert set(TASKS) == {*PARAMETERS, "text", "wikitext"} | landscapes | elsewhere


def test_a_split_is_evaluated_on_its_first_rows_in_parts():
    split = Split(torch.arange(10), torch.arange(10))
    chosen = Task(data=lambda: None, models={}, loss=None, scale=Scale(micro_batch=4), evaluated=7)
    assert [part.tolist() for part, _ in chosen.parts(split)] == [[0, 1, 2, 3], [4, 5, 6]]
    assert sum(len(part) for part, _ in Task(data=lambda: None, models={}, loss=None).parts(split)) == 10


# --- data that are generated ---


def test_cancer_is_standardised_by_its_training_part():
    train = task("cancer").data().train.inputs
    assert train.mean(0).abs().max() < 1e-5
    assert (train.std(0, correction=0) - 1).abs().max() < 1e-5
    assert task("cancer").data().test.inputs.mean(0).abs().max() > 1e-3


def test_generated_data_are_kept_whole_and_made_anew_where_they_are_damaged(own_cache):
    made = []

    def make():
        made.append(1)
        return {"x": np.arange(3)}

    for _ in range(2):
        assert kept("thing", make)["x"].tolist() == [0, 1, 2]
        assert mapped("other", lambda: make()["x"]).tolist() == [0, 1, 2]
    assert len(made) == 2
    assert sorted(file.name for file in own_cache.iterdir()) == ["other.npy", "thing.npz"]
    for file in own_cache.iterdir():
        file.write_bytes(b"rubbish")
    assert kept("thing", make)["x"].tolist() == [0, 1, 2]
    assert mapped("other", lambda: make()["x"]).tolist() == [0, 1, 2]
    assert len(made) == 4


def test_data_are_made_where_nothing_can_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept("thing", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
    assert mapped("thing", lambda: np.arange(3)).tolist() == [0, 1, 2]


def test_making_mnist1d_leaves_the_global_generators_alone(monkeypatch):
    import random

    from edsl.lab.tasks import mnist1d

    monkeypatch.setattr(mnist1d, "EXAMPLES", 50)
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    first, again = mnist1d._made(), mnist1d._made()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert first["x"].shape == (50, 40)
    assert np.array_equal(first["x"], again["x"])


# --- optima ---


def test_quadratics_optimum_has_no_gradient_and_is_lower_than_all_around():
    inputs, targets = (part.double() for part in task("quadratic").data().train)
    least = quadratic.solution()
    weights = least.clone().requires_grad_()
    value = quadratic.loss(inputs @ weights.T, targets)
    (gradient,) = torch.autograd.grad(value, weights)
    assert gradient.abs().max() < 1e-14
    assert value.item() == task("quadratic").optimum()
    for _ in range(20):
        near = least + 1e-4 * torch.randn_like(least)
        assert quadratic.loss(inputs @ near.T, targets) > value
    eigenvalues = torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs))
    assert 800 < eigenvalues[-1] / eigenvalues[0] < 1250


def test_logistics_optimum_has_no_gradient_and_is_lower_than_all_around():
    inputs, targets = (part.double() for part in task("logistic").data().train)
    model = task("logistic").models["linear"]().double()
    model.weight.data = torch.from_numpy(logistic.solution())[None]
    value = logistic.loss(model(inputs), targets)
    value.backward()
    assert model.weight.grad.norm() < 1e-13
    assert value.item() == pytest.approx(task("logistic").optimum(), abs=1e-15)
    least = model.weight.data.clone()
    for _ in range(20):
        model.weight.data = least + 1e-4 * torch.randn_like(least)
        assert logistic.loss(model(inputs), targets) > value


@pytest.mark.parametrize("name", ["quadratic", "logistic"])
def test_training_comes_close_to_the_optimum_and_never_below(name):
    chosen = task(name)
    train = chosen.data().train
    model = next(iter(chosen.models.values()))()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe", tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        loss = chosen.loss(model(train.inputs), train.targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert -1e-6 < closure().item() - chosen.optimum() < 1e-4


# --- bytes ---


def test_each_token_gets_its_two_preferred_experts_by_their_shares():
    torch.manual_seed(0)
    mixture = Experts(8, experts=4).double()
    tokens = torch.randn(3, 5, 8, dtype=torch.float64)
    expected = torch.zeros_like(tokens)
    for row, place in [(row, place) for row in range(3) for place in range(5)]:
        scores = (mixture.router.weight @ tokens[row, place]).tolist()
        first, second = sorted(range(4), key=scores.__getitem__)[:1:-1]
        share = 1 / (1 + math.exp(scores[second] - scores[first]))
        both = [mixture.experts[number](tokens[row, place]) for number in (first, second)]
        expected[row, place] = share * both[0] + (1 - share) * both[1]
    torch.testing.assert_close(mixture(tokens), expected, rtol=0, atol=1e-12)


def test_an_expert_that_nobody_asks_gets_a_gradient_of_zeros():
    mixture = Experts(4, experts=3)
    with torch.no_grad():
        mixture.router.weight.copy_(torch.tensor([[1.0], [0.5], [-1.0]]).expand(3, 4))
    mixture(torch.ones(1, 2, 4)).sum().backward()
    grads = [[parameter.grad for parameter in expert.parameters()] for expert in mixture.experts]
    assert all(grad is not None and not grad.any() for grad in grads[2])
    assert all(any(grad.any() for grad in one) for one in grads[:2])


def test_a_model_behind_a_tasks_colon_is_an_error_that_names_its_option():
    with pytest.raises(EdslError, match="task bytes takes no folder, got 'bytes:moe'; its model moe is --model moe"):
        task("bytes:moe")


def test_bytes_are_the_library_without_tests_split_by_files(tmp_path):
    for name in ("b.py", "a.py", "test/c.py", "site-packages/d.py", "json/tests/e.py", "json/f.py", "g.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = python_bytes_file.sources(tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in found] == ["a.py", "b.py", "json/f.py"]


def test_bytes_have_a_target_for_each_place_and_no_row_twice():
    data = task("bytes").data()
    assert len(data.train.inputs) > 50_000
    assert (len(data.validation.inputs), len(data.test.inputs)) == (128, 512)
    for split in data:
        rows = first_rows(split, 256)
        assert rows.inputs.dtype == rows.targets.dtype == torch.int64
        assert torch.equal(rows.inputs[:, 1:], rows.targets[:, :-1])
        assert len(set(split.inputs.starts.tolist())) == len(split.inputs)
    assert b"def " in bytes(data.train.inputs[:512].flatten().tolist())


def test_windows_cover_the_text_and_come_as_they_are_asked_for():
    split = windows(np.arange(11, dtype=np.uint8), 3)
    assert sorted(split.inputs[:].tolist()) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert torch.equal(split.targets[:], split.inputs[:] + 1)
    assert torch.equal(split.inputs[torch.tensor([2, 0])], split.inputs[:][[2, 0]])
    assert split.inputs[1].tolist() == split.inputs[:].tolist()[1]
    assert len(windows(np.arange(1000), 3, sample=10).inputs) == 10


def test_small_decoders_can_be_differentiated_twice_and_see_no_future():
    model = task("bytes").models["tiny"]()
    rows = task("bytes").data().train.inputs[torch.arange(2)]
    loss = model(rows).square().mean()
    (gradient,) = torch.autograd.grad(loss, model.embedding.weight, create_graph=True)
    gradient.square().sum().backward()
    changed = rows.clone()
    changed[:, 64:] = 0
    assert torch.allclose(model(rows)[:, :64], model(changed)[:, :64], atol=1e-6)


# --- images ---


def images(count, classes, size=32):
    from PIL import Image

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return [Image.fromarray(image) for image in pixels], [place % classes for place in range(count)]


def parquet(datasets, folder: Path, name="img", label="label", classes=10, size=32, splits=("train", "test")) -> Path:
    folder.mkdir()
    features = datasets.Features({name: datasets.Image(), label: datasets.Value("int64")})
    for split, count in zip(splits, (40, 20)):
        held, labels = images(count, classes, size)
        rows = datasets.Dataset.from_dict({name: held, label: labels}, features=features)
        rows.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return folder


@pytest.mark.parametrize(("word", "label", "classes"), [("cifar10", "label", 10), ("cifar100", "fine_label", 100)])
def test_cifar_is_read_from_a_local_copy(word, label, classes, datasets, tmp_path):
    folder = parquet(datasets, tmp_path / "copy", label=label)
    chosen = task(f"{word}:{folder}")
    data = chosen.data()
    assert chosen.name == f"{word}:{folder}"
    assert task(chosen.name) is chosen
    assert [split.inputs.shape for split in data] == [(36, 3, 32, 32), (4, 3, 32, 32), (20, 3, 32, 32)]
    assert data.train.targets.dtype == torch.int64
    expected = np.asarray(images(20, 10)[0][3]) / 255
    expected = (expected - np.array(cifar.MEAN)) / np.array(cifar.DEVIATION)
    assert np.allclose(data.test.inputs[3].permute(1, 2, 0), expected, atol=1e-5)
    rows = [image.numpy().tobytes() for split in data[:2] for image in split.inputs]
    assert len(set(rows)) == 40
    for build in chosen.models.values():
        model = build()
        loss = chosen.loss(model(data.train.inputs[:16]), data.train.targets[:16])
        loss.backward()
        assert 0.5 * math.log(classes) < loss.item() < 2 * math.log(classes)


def test_folders_of_images_and_the_environment_name_a_local_copy(datasets, tmp_path, monkeypatch):
    for split in ("train", "test"):
        for place, image in enumerate(images(20, 2)[0]):
            file = tmp_path / "folders" / split / "ab"[place % 2] / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)
    monkeypatch.setenv("EDSL_DATA", str(tmp_path / "folders"))
    chosen = task("cifar10")
    assert chosen.name == f"cifar10:{tmp_path / 'folders'}"
    assert chosen.data().train.targets.unique().tolist() == [0, 1]


@pytest.mark.parametrize("model", ["resnet18", "resnet20"])
def test_a_residual_network_on_small_images_halves_them_in_each_later_stage(model):
    network = task("cifar10").models[model]()
    stages = [getattr(network, name) for name in ("layer1", "layer2", "layer3", "layer4") if hasattr(network, name)]
    x, seen = network.conv1(torch.zeros(1, 3, 32, 32)), []
    for stage in stages:
        x = stage(x)
        seen.append(tuple(x.shape[1:]))
    width = {"resnet18": 64, "resnet20": 16}[model]
    assert seen == [(width << place, 32 >> place, 32 >> place) for place in range(len(stages))]


def test_resnet20_is_the_parameter_set_of_that_name():
    model = task("cifar10").models["resnet20"]()
    assert {name: tuple(value.shape) for name, value in model.named_parameters()} == parameter_set("resnet20")


def test_augmentation_is_the_generators_and_shifts_and_flips():
    augment = task("cifar10").augment
    ramp = 1 + torch.arange(3 * 8 * 8, dtype=torch.float32).view(1, 3, 8, 8).expand(200, -1, -1, -1)
    first, again, other = (augment(ramp, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == ramp.shape
    crops = {
        flipped.numpy().tobytes()
        for top in range(9)
        for left in range(9)
        for crop in [torch.nn.functional.pad(ramp[0], (4, 4, 4, 4))[:, top : top + 8, left : left + 8]]
        for flipped in (crop.contiguous(), crop.flip(2).contiguous())
    }
    found = {image.contiguous().numpy().tobytes() for image in first}
    assert found <= crops
    assert len(found) > 100


# --- text ---


@pytest.fixture
def books(tmp_path):
    folder = tmp_path / "books"
    (folder / "more").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("hidden")
    (folder / "a.txt").write_text("one " * 8000)
    (folder / "more" / "b.md").write_text("zwölf " * 4000, encoding="utf-8")
    (folder / "picture.bin").write_bytes(b"\0\1\2" * 100)
    return folder


def test_text_of_a_folder_is_bytes_where_gpt2s_tokenizer_cannot_be_had(books, own_cache, monkeypatch):
    def missing():
        raise EdslError("GPT-2's tokenizer is not here")

    monkeypatch.setattr(tokens, "gpt2_tokenizer", missing)
    chosen = task(f"text:{books}")
    with pytest.warns(EdslWarning, match="using byte tokens, since GPT-2's tokenizer is not here"):
        data = chosen.data()
    whole = b"".join(sorted(bytes(row.tolist()) for row in data.train.inputs))
    assert b"one one" in whole
    assert b"hidden" not in whole
    assert b"\0" not in whole
    rows = first_rows(data.train)
    assert rows.inputs.shape[1] == 1024
    assert torch.equal(rows.inputs[:, 1:], rows.targets[:, :-1])
    assert len(list(own_cache.iterdir())) == 3
    torch.manual_seed(0)
    model = chosen.models["gpt2-tiny"]()
    loss = chosen.loss(model(rows.inputs[:1]), rows.targets[:1])
    loss.backward()
    assert loss.item() == pytest.approx(math.log(256), rel=0.1)


def test_text_that_is_kept_keeps_its_tokenizer(books, own_cache, monkeypatch):
    def three_letters():
        return lambda text: [ord(letter) % 3 for letter in text]

    monkeypatch.setattr(tokens, "gpt2_tokenizer", three_letters)
    text_file.text.cache_clear()
    first = task(f"text:{books}").data()
    assert first.train.inputs[:].max() == 2
    assert first.train.inputs.tokens.dtype == np.uint16
    monkeypatch.setattr(tokens, "gpt2_tokenizer", pytest.fail)
    text_file.text.cache_clear()
    again = task(f"text:{books}").data()
    assert torch.equal(again.train.inputs[:], first.train.inputs[:])
    monkeypatch.setenv("EDSL_TOKENIZER", "bytes")
    text_file.text.cache_clear()
    assert task(f"text:{books}").data().train.inputs[:].max() > 100


def test_wikitext_is_read_from_a_local_copy(datasets, tmp_path, own_cache, monkeypatch):
    monkeypatch.setenv("EDSL_TOKENIZER", "bytes")
    (tmp_path / "copy").mkdir()
    for split in ("train", "validation", "test"):
        rows = datasets.Dataset.from_dict({"text": [f" = {split} = \n"] * 500})
        rows.to_parquet(str(tmp_path / "copy" / f"{split}.parquet"))
    data = task(f"wikitext:{tmp_path / 'copy'}").data()
    for name, split in data._asdict().items():
        assert f" = {name} = ".encode() in bytes(split.inputs[0].tolist())


def test_gpt2_has_the_parameters_that_its_docstring_and_the_parameter_sets_say():
    for name, shape in {"gpt2": {}, "gpt2-medium": {"width": 1024, "depth": 24}}.items():
        with torch.device("meta"):
            model = gpt2(50_257, **shape)
        named = {called: tuple(value.shape) for called, value in model.named_parameters()}
        assert named == parameter_set(name)
        assert f"{parameters(model):,}" in gpt2.__doc__


# --- errors ---


BAD = {
    "unknown": ("digit", "unknown task 'digit'; did you mean 'digits'"),
    "unknown with a folder": ("txt:/data", "unknown task 'txt'; did you mean 'text'"),
    "takes no folder": ("digits:/data", "task digits takes no folder, got 'digits:/data'"),
    "nothing behind the colon": ("text:", "task text: name a folder after the colon"),
    "no folder": ("text", "task text: name a folder with text, text:FOLDER, or EDSL_DATA=FOLDER"),
    "missing": ("cifar10:/no/such", "task cifar10: /no/such is no folder that can be read: No such file"),
}


@pytest.mark.parametrize(("name", "said"), BAD.values(), ids=BAD)
def test_bad_name_is_one_line(name, said):
    with pytest.raises(EdslError) as caught:
        task(name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_folder_and_folder_without_text_are_errors(tmp_path, monkeypatch):
    with pytest.raises(EdslError, match=r"the folder .* is empty"):
        task(f"text:{tmp_path}")
    (tmp_path / "folder").mkdir()
    with pytest.raises(EdslError, match=r"the folder .* holds no files"):
        task(f"text:{tmp_path}")
    monkeypatch.setenv("EDSL_TOKENIZER", "bytes")
    (tmp_path / "zeros").write_bytes(bytes(100))
    text_file.text.cache_clear()
    with pytest.raises(EdslError, match="no text, only files with zero bytes"):
        task(f"text:{tmp_path}").data()


def test_text_too_short_for_a_row_is_an_error(tmp_path, own_cache, monkeypatch):
    monkeypatch.setenv("EDSL_TOKENIZER", "bytes")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("short " * 1000)
    with pytest.raises(EdslError, match="validation has 300 tokens, and a row needs 1025"):
        task(f"text:{tmp_path / 'texts'}").data()


def test_unknown_tokenizer_is_an_error(books, own_cache, monkeypatch):
    monkeypatch.setenv("EDSL_TOKENIZER", "words")
    text_file.text.cache_clear()
    with pytest.raises(EdslError, match="EDSL_TOKENIZER must be gpt2 or bytes, got 'words'"):
        task(f"text:{books}").data()


def test_packages_that_are_not_installed_are_named(books, own_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    cifar.cifar10.cache_clear()
    with pytest.raises(EdslError, match=r"needs the package datasets: pip install 'edsl-optim\[data\]'"):
        task("cifar10").data()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(EdslError, match=r"GPT-2 needs the package transformers"):
        gpt2(256)
    with pytest.raises(EdslError, match=r"tokenizer needs the package transformers"):
        tokens.gpt2_tokenizer()


def test_failed_download_says_where_a_copy_can_be_named(monkeypatch):
    def unreachable(*_):
        raise ConnectionError("Couldn't reach the Hub\nand more")

    monkeypatch.setitem(
        sys.modules, "datasets", types.SimpleNamespace(load_dataset=unreachable, disable_progress_bars=lambda: None)
    )
    cifar.cifar100.cache_clear()
    with pytest.raises(EdslError) as caught:
        task("cifar100").data()
    assert str(caught.value) == (
        "task cifar100: can't download uoft-cs/cifar100 (ConnectionError: Couldn't reach the Hub); "
        "name a local copy: cifar100:FOLDER, or EDSL_DATA=FOLDER"
    )


WRONG = {
    "no test split": ({"splits": ("train",)}, "has no split 'test', only train"),
    "other columns": ({"name": "picture"}, "no column img or image, only picture, label"),
    "labels": ({"classes": 30}, r"labels must lie in \[0, 10\)"),
    "size": ({"size": 28}, "images must be 32 × 32, got 28 × 28"),
}


@pytest.mark.parametrize(("made", "said"), WRONG.values(), ids=WRONG)
def test_copy_that_is_no_cifar_is_an_error(made, said, datasets, tmp_path):
    folder = parquet(datasets, tmp_path / "copy", **made)
    with pytest.raises(EdslError, match=said):
        task(f"cifar10:{folder}").data()


def test_folder_that_datasets_cannot_read_is_an_error(datasets, tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "train.parquet").write_bytes(b"rubbish")
    with pytest.raises(EdslError, match="task cifar10: datasets can't read") as caught:
        task(f"cifar10:{tmp_path / 'copy'}").data()
    assert "\n" not in str(caught.value)
