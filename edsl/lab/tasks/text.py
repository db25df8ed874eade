"""`text` and `wikitext`: GPT-2 from the start on a folder's text, or on WikiText-103 (Merity et al. 2017)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path

from edsl.errors import EdslError
from edsl.lab.data.hub import column, splits
from edsl.lab.data.tokens import SPLITS, VOCABULARY, Texts, tokenizer_of, tokens_of
from edsl.lab.data.windows import next_token_loss, windows
from edsl.lab.models.gpt2 import LENGTH, gpt2
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.task import Data, Scale, Task

EVALUATED = 64  # rows


@cache
def text(folder: Path | None) -> Task:
    """All text files of a folder and those in it, in the order of their names: 90 % train, 5 % validation, 5 % test.

    Raises:
        EdslError: without a folder, or for one without files.
    """
    if folder is None:
        raise EdslError("task text: name a folder with text, text:FOLDER, or EDSL_DATA=FOLDER")
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file.relative_to(folder))]
    if not files:
        raise EdslError(f"task text: the folder {folder} holds no files")
    return _task("text", folder, _digest(files), partial(_cut, folder, files))


@cache
def wikitext(folder: Path | None) -> Task:
    """WikiText-103 with its own three splits, 118 million of GPT-2's tokens for training."""
    kept = "103" if folder is None else _digest(sorted(file for file in folder.rglob("*") if file.is_file()))
    return _task("wikitext", folder, kept, partial(_lines, folder))


def _task(word: str, folder: Path | None, digest: str, texts: Texts) -> Task:
    name = word if folder is None else f"{word}:{folder}"
    kept = f"{word}-{digest}"
    tokenizer = cache(partial(tokenizer_of, name, kept))
    shapes = {"gpt2": {}, "gpt2-medium": {"width": 1024, "depth": 24}, "gpt2-tiny": {"width": 128, "depth": 2}}

    def data() -> Data:
        """Rows of 1,024 tokens; validation and test are 64 rows each, evenly from their text."""
        found = tokens_of(kept, tokenizer(), texts)
        for split, tokens in found.items():
            if len(tokens) <= LENGTH:
                raise EdslError(f"task {name}: {split} has {len(tokens)} tokens, and a row needs {LENGTH + 1}")
        return Data(*(windows(found[split], LENGTH, most) for split, most in zip(SPLITS, (None, EVALUATED, EVALUATED))))

    def model(shape: Mapping[str, int]):
        return gpt2(VOCABULARY[tokenizer()], **shape)

    return Task(
        name=name,
        data=cache(data),
        models={called: partial(model, shape) for called, shape in shapes.items()},
        loss=next_token_loss,
        accuracy=None,
        batch=64,
        steps=5000,
        about=TASKS[word][1],
        scale=Scale(autocast="bfloat16", micro_batch=16, compile_model=True),
        evaluated=EVALUATED,
    )


def _hidden(file: Path) -> bool:
    return any(part.startswith(".") for part in file.parts)


def _digest(files: list[Path]) -> str:
    """What changes when a file does, without reading them."""
    found = hashlib.sha256()
    for file in files:
        status = file.stat()
        found.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return found.hexdigest()[:16]


def _cut(folder: Path, files: list[Path]) -> dict[str, list[str]]:
    """All files but those with zero bytes, one behind the other, cut into three."""
    held = [content for file in files if b"\0" not in (content := file.read_bytes())]
    if not held:
        raise EdslError(f"task text: the folder {folder} holds no text, only files with zero bytes")
    whole = b"\n".join(held).decode("utf-8", "replace")
    first, second = len(whole) * 90 // 100, len(whole) * 95 // 100
    parts = {"train": whole[:first], "validation": whole[first:second], "test": whole[second:]}
    return {split: [part[at : at + 2**20] for at in range(0, len(part), 2**20)] for split, part in parts.items()}


def _lines(folder: Path | None) -> dict[str, Iterable[str]]:
    """The text of each split, line by line."""
    found = splits("wikitext", "Salesforce/wikitext", folder, SPLITS, "wikitext-103-raw-v1")
    return {name: found[name][column("wikitext", found[name], ("text",))] for name in SPLITS}
