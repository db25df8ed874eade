"""Fine-tuning of pretrained encoders: `glue:NAME` (Wang et al. 2019), `imdb` (Maas et al. 2011), `conll2003` (Tjong Kim
Sang and De Meulder 2003), by default with BERT-base (Devlin et al. 2019), three epochs of batches of 32.

Where a test split has no labels, its validation split is the test. A tenth of the training rows, at most 2,000, is for
validation where no other split is left for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from edsl.errors import EdslError
from edsl.lab.data.hub import splits
from edsl.lab.data.texts import Texts
from edsl.lab.models.pretrained import Encoders, Head
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.classification import accuracy
from edsl.lab.tasks.task import Data, Scale, Split, Task

UNCASED, CASED = {"bert-base": "google-bert/bert-base-uncased"}, {"bert-base-cased": "google-bert/bert-base-cased"}
BATCH, EPOCHS = 32, 3
HELD, MOST_HELD = 10, 2000  # one training row of so many is for validation, and no more than these
NO_WORD = -100  # the target of a place behind a sentence's last word


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        name, configuration: on the hub.
        texts: the columns that hold them; one of words where `of_words`.
        label: the column of the target.
        outputs: classes, or 1 for a number.
        examples: for training, by which three epochs are counted.
        tokens: most of a row.
        splits: whose rows are for training and test, and for validation where there is one more.
    """

    name: str
    texts: tuple[str, ...]
    outputs: int
    examples: int
    configuration: str | None = None
    label: str = "label"
    tokens: int = 128
    splits: tuple[str, ...] = ("train", "validation")
    of_words: bool = False


_PAIR, _GLUE = ("sentence1", "sentence2"), "nyu-mll/glue"
SOURCES = {
    "glue:cola": Source(_GLUE, ("sentence",), 2, 8_551, "cola"),
    "glue:sst2": Source(_GLUE, ("sentence",), 2, 67_349, "sst2"),
    "glue:mrpc": Source(_GLUE, _PAIR, 2, 3_668, "mrpc"),
    "glue:qqp": Source(_GLUE, ("question1", "question2"), 2, 363_846, "qqp"),
    "glue:stsb": Source(_GLUE, _PAIR, 1, 5_749, "stsb"),
    "glue:mnli": Source(_GLUE, ("premise", "hypothesis"), 3, 392_702, "mnli", splits=("train", "validation_matched")),
    "glue:qnli": Source(_GLUE, ("question", "sentence"), 2, 104_743, "qnli"),
    "glue:rte": Source(_GLUE, _PAIR, 2, 2_490, "rte"),
    "glue:wnli": Source(_GLUE, _PAIR, 2, 635, "wnli"),
    "imdb": Source("stanfordnlp/imdb", ("text",), 2, 25_000, tokens=512, splits=("train", "test")),
    "conll2003": Source(
        "lhoestq/conll2003",
        ("tokens",),
        9,
        14_041,
        label="ner_tags",
        tokens=512,
        splits=("train", "test", "validation"),
        of_words=True,
    ),
}


@cache
def glue(part: str, folder: Path | None) -> Task:
    """A task of GLUE, by its name there; all are classified but stsb, whose similarities of 0 to 5 are predicted."""
    return _task(f"glue:{part}", TASKS["glue"][1], folder)


@cache
def imdb(folder: Path | None) -> Task:
    """Whether a review of a film is for or against it."""
    return _task("imdb", TASKS["imdb"][1], folder)


@cache
def conll2003(folder: Path | None) -> Task:
    """Names of persons, places, organisations and others: a tag for each word, of nine."""
    return _task("conll2003", TASKS["conll2003"][1], folder)


def _task(word: str, about: str, folder: Path | None) -> Task:
    source = SOURCES[word]
    head = Head(source.outputs, source.tokens, source.of_words)
    names = {**CASED, **UNCASED} if source.of_words else {**UNCASED, **CASED}
    trained = source.examples - (_held(source.examples) if len(source.splits) == 2 else 0)
    return Task(
        name=word if folder is None else f"{word}:{folder}",
        data=cache(partial(_data, word, source, folder)),
        models=Encoders(names, head),
        loss=word_loss if source.of_words else cross_entropy if source.outputs > 1 else _squared_error,
        accuracy=word_accuracy if source.of_words else accuracy if source.outputs > 1 else None,
        batch=BATCH,
        steps=EPOCHS * (trained // BATCH),
        about=about,
        scale=Scale(autocast="bfloat16", micro_batch=128),
    )


def _held(rows: int) -> int:
    return min(max(1, rows // HELD), MOST_HELD)


def _data(word: str, source: Source, folder: Path | None) -> Data:
    found = splits(word, source.name, folder, source.splits, source.configuration)
    rows = {name: _split(word, source, found[name]) for name in source.splits}
    train, test = (rows[name] for name in source.splits[:2])
    if len(source.splits) == 3:
        return Data(train, rows[source.splits[2]], test)
    if len(train.inputs) < 2:
        raise EdslError(f"task {word}: training and validation need two rows of {source.splits[0]}, got 1")
    order = torch.randperm(len(train.inputs), generator=torch.Generator().manual_seed(0))
    held = _held(len(order))
    kept, validation = (Split(train.inputs[part], train.targets[part]) for part in (order[held:], order[:held]))
    return Data(kept, validation, test)


def _split(word: str, source: Source, rows: Any) -> Split:
    missing = [name for name in (*source.texts, source.label) if name not in rows.column_names]
    if missing:
        raise EdslError(f"task {word}: no column {missing[0]!r}, only {', '.join(rows.column_names)}")
    columns, labels = [rows[name][:] for name in source.texts], rows[source.label][:]
    kept = [place for place, row in enumerate(zip(*columns)) if all(row)]  # a sentence without words has no tag
    if not kept:
        raise EdslError(f"task {word}: no row of it holds text in {' and '.join(source.texts)}")
    texts = [tuple(columns[0][place]) if source.of_words else tuple(c[place] for c in columns) for place in kept]
    if not all(isinstance(part, str) for row in texts for part in row):
        raise EdslError(f"task {word}: {source.texts[0]} must hold {'lists of words' if source.of_words else 'text'}")
    chosen = [labels[place] for place in kept]
    return Split(Texts(texts), (_tags if source.of_words else _labels)(word, source, chosen, texts))


def _labels(word: str, source: Source, labels: Sequence[Any], _: Sequence[Any]) -> Tensor:
    """(rows,) of whole numbers, or of numbers where there are no classes."""
    if source.outputs == 1:
        return _checked(word, torch.tensor([float(label) for label in _numbers(word, labels)]), None)
    return _checked(word, torch.tensor([int(label) for label in _numbers(word, labels)]), source.outputs)


def _tags(word: str, source: Source, tags: Sequence[Any], texts: Sequence[tuple[str, ...]]) -> Tensor:
    """(rows, words of the longest), NO_WORD behind the last of each."""
    found = torch.full((len(tags), max(map(len, texts))), NO_WORD)
    for place, (row, words) in enumerate(zip(tags, texts)):
        if not isinstance(row, (list, tuple)) or len(row) != len(words):
            raise EdslError(f"task {word}: {source.label} must hold a whole number for each word, got {row!r:.60}")
        found[place, : len(words)] = torch.tensor([int(tag) for tag in _numbers(word, row)])
    _checked(word, found[found != NO_WORD], source.outputs)
    return found


def _numbers(word: str, labels: Sequence[Any]) -> Sequence[Any]:
    wrong = next((label for label in labels if not isinstance(label, (int, float)) or label != label), None)
    if wrong is not None or None in labels:
        raise EdslError(f"task {word}: labels must be numbers, got {wrong!r:.40}")
    return labels


def _checked(word: str, labels: Tensor, classes: int | None) -> Tensor:
    if classes is not None and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        wrong = next(int(label) for label in labels if not 0 <= label < classes)
        raise EdslError(f"task {word}: labels must lie in [0, {classes}), got {wrong}")
    return labels


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return mse_loss(outputs[:, 0].float(), targets)


def word_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """Cross entropy in nats a word; logits (rows, words, classes), tags (rows, words or more)."""
    tags = tags[:, : logits.shape[1]]
    return cross_entropy(logits.flatten(0, 1).float(), tags.flatten(), ignore_index=NO_WORD)


def word_accuracy(logits: Tensor, tags: Tensor) -> float:
    """The share of words with the right tag, as a mean over sentences."""
    tags = tags[:, : logits.shape[1]]
    words = tags != NO_WORD
    right = ((logits.argmax(2) == tags) & words).sum(1) / words.sum(1)
    return right.mean().item()
