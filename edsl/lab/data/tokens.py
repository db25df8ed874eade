"""Text as tokens: GPT-2's where its tokenizer can be had, else bytes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from edsl.errors import EdslError, EdslWarning, first_line, shown
from edsl.lab.data.cache import is_kept, mapped

VOCABULARY = {"gpt2": 50_257, "bytes": 256}
SPLITS = ("train", "validation", "test")
PIECE = 2**20  # characters given to the tokenizer at once

Texts = Callable[[], Mapping[str, Iterable[str]]]  # of each split, in pieces


def tokenizer_of(task: str, text: str) -> str:
    """The tokenizer of a text, "gpt2" or "bytes", the same for all processes and later runs.

    EDSL_TOKENIZER decides if it is set; else with what the text is kept on the disk already; else
    GPT-2's is loaded, or downloaded, and where neither succeeds a warning says that bytes are the tokens.

    Args:
        text: what names the text on the disk.

    Raises:
        EdslError: for an unknown tokenizer.
    """
    asked = os.environ.get("EDSL_TOKENIZER")
    if asked:
        if asked not in VOCABULARY:
            raise EdslError(f"EDSL_TOKENIZER must be gpt2 or bytes, got {shown(asked)}")
        return asked
    if is_kept(_place(text, "gpt2", "test")):
        return "gpt2"
    reason = "this text is kept as bytes"
    if not is_kept(_place(text, "bytes", "test")):
        try:
            gpt2_tokenizer()
            return "gpt2"
        except EdslError as error:
            reason = str(error)
    warnings.warn(
        f"task {task}: using byte tokens, since {reason}; set EDSL_TOKENIZER to gpt2 or bytes to choose",
        EdslWarning,
        stacklevel=2,
    )
    return "bytes"


def tokens_of(text: str, tokenizer: str, texts: Texts) -> dict[str, np.ndarray]:
    """The tokens of each split, kept on the disk and mapped from there.

    Args:
        text: what names the text on the disk.
        texts: makes the text of the SPLITS; called if it isn't kept.
    """
    read: list[Mapping[str, Iterable[str]]] = []

    def made(split: str) -> np.ndarray:
        if not read:
            read.append(texts())
        encode = _bytes if tokenizer == "bytes" else _gpt2
        return encode(read[0][split])

    # the test split last: where it is kept, all are
    return {split: mapped(_place(text, tokenizer, split), partial(made, split)) for split in SPLITS}


def _place(text: str, tokenizer: str, split: str) -> str:
    return f"{text}-{tokenizer}-{split}"


def _bytes(pieces: Iterable[str]) -> np.ndarray:
    return np.frombuffer("".join(pieces).encode("utf-8", "surrogatepass"), dtype=np.uint8)


def _gpt2(pieces: Iterable[str]) -> np.ndarray:
    encode = gpt2_tokenizer()
    found = [np.array(encode(piece), dtype=np.uint16) for piece in _joined(pieces)]
    return np.concatenate(found) if found else np.empty(0, dtype=np.uint16)


def _joined(pieces: Iterable[str]) -> Iterable[str]:
    """The same text in pieces of about PIECE characters, cut where a piece began."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield "".join(held)
            held, size = [], 0
    if size:
        yield "".join(held)


def gpt2_tokenizer() -> Callable[[str], list[int]]:
    """A function from text to GPT-2's tokens.

    Raises:
        EdslError: where its files are neither here nor can be downloaded.
    """
    name = "openai-community/gpt2"
    try:
        from huggingface_hub import hf_hub_download
        from transformers import AutoTokenizer
    except ImportError:
        raise EdslError("GPT-2's tokenizer needs the package transformers: pip install 'edsl-optim[data]'") from None
    try:
        found: Any = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except Exception:  # not here: what transformers raises differs by version
        try:
            hf_hub_download(name, "tokenizer.json")  # one file first: without a connection each is tried for long
            found = AutoTokenizer.from_pretrained(name)
        except Exception as reason:
            said = first_line(reason, 80)
            raise EdslError(f"GPT-2's tokenizer is not here and can't be downloaded ({said})") from None
    return lambda text: found(text, add_special_tokens=False, verbose=False)["input_ids"]
