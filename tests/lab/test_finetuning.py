"""Fine-tuning of pretrained encoders: from local data and a local model, by the code that reads the hub's."""

import json
import random
import sys

import pytest
import torch

import edsl
from edsl.cli.report import report
from edsl.lab.executors.driver import run_to_end
from edsl.lab.executors.engines import executor
from edsl.lab.races.build import open_record, race
from edsl.lab.tasks import finetuning
from edsl.lab.tasks.catalogue import PARTS, task

transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")

WORDS = ["the", "a", "cat", "dog", "sat", "on", "film", "was", "good", "bad", "great", "poor", "and", "not", "it"]
TAGS = 9


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny BERT with its tokenizer, and texts as jsonl, csv and parquet."""
    root = tmp_path_factory.mktemp("finetuning")
    bert = root / "bert"
    bert.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
    (bert / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (bert / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    configuration = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, **sizes)
    torch.manual_seed(0)
    state = transformers.BertForMaskedLM(configuration)
    configuration.save_pretrained(bert)
    torch.save(state.state_dict(), bert / "pytorch_model.bin")
    draw = random.Random(0)

    def sentence():
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 7)))

    makes = {
        "mrpc": lambda: {"sentence1": sentence(), "sentence2": sentence(), "label": draw.randint(0, 1)},
        "stsb": lambda: {"sentence1": sentence(), "sentence2": sentence(), "label": draw.random() * 5},
        "imdb": lambda: {"text": sentence(), "label": draw.randint(0, 1)},
        "conll2003": lambda: {
            "tokens": (words := f"{sentence()}s").split(),
            "ner_tags": [len(w) for w in words.split()],
        },
    }
    for name, make in makes.items():
        (root / name).mkdir()
        for split, count in {"train": 30, "validation": 8, "test": 6}.items():
            rows = datasets.Dataset.from_list([make() for _ in range(count)])
            file = str(root / name / split)
            if name == "imdb":
                rows.to_csv(f"{file}.csv")
            elif name == "stsb":
                rows.to_parquet(f"{file}.parquet")
            else:
                rows.to_json(f"{file}.jsonl")
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.delenv("EDSL_DATA", raising=False)
    datasets.disable_progress_bars()


def trained(chosen, folder, runner=None):
    rows = run_to_end(chosen, open_record(chosen, folder, False), lambda _: None, runner).rows
    return [(row.name, row.train_loss, row.test_loss) for row in rows]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("glue:mrpc", (27, 3, 8)),
        ("conll2003", (30, 8, 6)),
        pytest.param("glue:stsb", (27, 3, 8), marks=pytest.mark.slow),
        pytest.param("imdb", (27, 3, 6), marks=pytest.mark.slow),
    ],
)
def test_a_local_copy_is_raced_with_a_local_model_resumed_and_reported(name, sizes, place, tmp_path, capsys):
    asked = {"task": f"{name}:{place / name.rpartition(':')[2]}", "model": str(place / "bert"), "batch": 8, "steps": 3}
    asked |= {"out": tmp_path, "controls": False}
    data = task(asked["task"]).data()
    assert tuple(len(split.inputs) for split in data) == tuple(len(split.targets) for split in data) == sizes
    first = edsl.compare(["adamw(lr=0.001)", "lamb(lr=0.001)"], seeds=1, **asked)
    whole = edsl.compare(["adamw(lr=0.001)", "lamb(lr=0.001)"], seeds=2, **asked, resume=True)
    assert whole.finished[:2] == first.finished
    assert not any(row.failed for row in whole.results.rows), [row.reasons for row in whole.results.rows]
    report([tmp_path], None, [], None)
    assert name in (tmp_path / "report.html").read_text()
    assert "report.html" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("name", ["glue:mrpc", "imdb", "conll2003"])
def test_fine_tuning_gives_the_same_bits_in_processes(name, engine, place, tmp_path):
    if engine == "ray":
        pytest.importorskip("ray")
    folder = place / name.rpartition(":")[2]
    chosen = race(f"{name}:{folder}", ["adamw", "sgd"], model=str(place / "bert"), batch=8, steps=4, seeds=2)
    assert trained(chosen, tmp_path / "a") == trained(chosen, tmp_path / "b", executor(engine, 2))


def naive(kind, place, seed):
    """The same model as transformers builds it."""
    torch.manual_seed(seed)
    return kind.from_pretrained(place / "bert", num_labels=2 if "Sequence" in kind.__name__ else TAGS).eval()


@pytest.mark.filterwarnings("ignore")  # of another package's own loading
def test_logits_are_those_of_transformers_own_model_and_tokenizer(place):
    chosen = task(f"glue:mrpc:{place / 'mrpc'}")
    inputs = chosen.data().train.inputs[:5]
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "bert")
    torch.manual_seed(3)
    ours = chosen.model(str(place / "bert"))[1]().eval()
    theirs = naive(transformers.BertForSequenceClassification, place, 3)
    pairs = tokenizer([a for a, _ in inputs.rows], [b for _, b in inputs.rows], padding=True, return_tensors="pt")
    assert not (pairs["input_ids"] == tokenizer.unk_token_id).any()
    assert torch.allclose(ours(inputs), theirs(**pairs).logits, atol=1e-6)
    other = chosen.model(str(place / "bert"))[1]().eval()  # the head is drawn by the seed, the rest is pretrained
    changed = {key for key, value in other.state_dict().items() if not value.equal(ours.state_dict()[key])}
    assert changed
    assert all("classifier" in key or "pooler" in key for key in changed)


@pytest.mark.filterwarnings("ignore")
def test_a_words_logits_are_those_of_its_first_token(place):
    chosen = task(f"conll2003:{place / 'conll2003'}")
    inputs, tags = chosen.data().train
    inputs, tags = inputs[:6], tags[:6]
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "bert")
    torch.manual_seed(3)
    ours = chosen.model(str(place / "bert"))[1]().eval()
    theirs = naive(transformers.BertForTokenClassification, place, 3)
    found = ours(inputs)
    right, losses = [], []
    for number, words in enumerate(inputs.rows):
        encoded = tokenizer(list(words), is_split_into_words=True, return_tensors="pt")
        places = [encoded.word_ids().index(word) for word in range(len(words))]
        assert len(encoded.word_ids()) > len(words) + 2  # a word has two tokens
        logits = theirs(**encoded).logits[0, places]
        assert torch.allclose(found[number, : len(words)], logits, atol=1e-5)
        own = tags[number, : len(words)]
        right.append((logits.argmax(1) == own).float().mean())
        losses += torch.nn.functional.cross_entropy(logits, own, reduction="none").tolist()
    assert chosen.accuracy is not None
    assert chosen.accuracy(found, tags) == pytest.approx(torch.stack(right).mean().item())
    assert chosen.loss(found, tags).item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_a_folder_without_weights_gives_an_untrained_model(place, tmp_path):
    for name in ("config.json", "tokenizer_config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((place / "bert" / name).read_bytes())
    build = task(f"imdb:{place / 'imdb'}").model(str(tmp_path))[1]
    torch.manual_seed(1)
    first = build()
    assert any(not one.equal(two) for one, two in zip(first.parameters(), build().parameters()))


def test_every_part_of_glue_is_there_with_the_papers_batch():
    assert {f"glue:{part}" for part in PARTS["glue"]} == {name for name in finetuning.SOURCES if ":" in name}
    assert (task("glue:mrpc").batch, task("glue:mrpc").steps) == (32, 3 * ((3668 - 366) // 32))
    assert list(task("glue:mrpc").models) == ["bert-base", "bert-base-cased"]
    assert task("glue:stsb").accuracy is None
    assert len(finetuning.SOURCES) == 11


def test_bad_names_folders_and_models_are_one_line(place, tmp_path, monkeypatch):
    (tmp_path / "wrong").mkdir()
    for split in ("train", "validation", "test"):
        row = {"sentence1": "a", "sentence2": "b", "label": 7, "tokens": ["a"], "ner_tags": [1, 2]}
        (tmp_path / "wrong" / f"{split}.jsonl").write_text(json.dumps(row) + "\n")

    def unreachable(*_, **__):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    good = f"glue:mrpc:{place / 'mrpc'}"
    for name, model, message in (
        ("glue", None, "task glue: name a part, such as glue:cola; parts: cola, sst2, mrpc"),
        ("glue:mrcp", None, "task glue: unknown part 'mrcp'; did you mean 'mrpc'?"),
        ("glue:mrpc:", None, "name a folder after the colon, such as glue:mrpc:/data/mrpc"),
        (good, "nothere", "unknown model 'nothere'; models: bert-base, bert-base-cased, or a folder"),
        (good, None, "model google-bert/bert-base-uncased is not here and can't be downloaded (ConnectionError: no"),
        (good, str(place / "mrpc"), "transformers can't load it (ValueError: Unrecognized model"),
        (f"glue:mrpc:{place / 'imdb'}", str(place / "bert"), "task glue:mrpc: no column 'sentence1', only text"),
        (f"glue:mrpc:{tmp_path / 'wrong'}", None, "task glue:mrpc: labels must lie in [0, 2), got 7"),
        (f"conll2003:{tmp_path / 'wrong'}", None, "ner_tags must hold a whole number for each word, got [1, 2]"),
    ):
        with pytest.raises(edsl.EdslError) as raised:
            race(name, ["sgd"], model=model, batch=1, steps=1, seeds=1)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


def test_packages_that_are_missing_are_named(place, monkeypatch):
    build = task(f"imdb:{place / 'imdb'}").model(str(place / "bert"))[1]
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(edsl.EdslError, match=r"needs the package transformers: pip install 'edsl-optim\[data\]'"):
        build()
    monkeypatch.setitem(sys.modules, "datasets", None)
    finetuning.imdb.cache_clear()
    with pytest.raises(edsl.EdslError, match="task imdb needs the package datasets"):
        task("imdb").data()
