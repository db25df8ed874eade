"""Pretrained encoders of transformers with their own tokenizers and a new head: texts in, logits out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edsl.errors import EdslError, first_line

_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")
NEEDS = "fine-tuning needs the package transformers: pip install 'edsl-optim[data]'"


@dataclass(frozen=True)
class Head:
    """What is put on an encoder: `outputs` numbers a text, or a word if it is `of_words`; `length` tokens at most."""

    outputs: int
    length: int
    of_words: bool = False


class Encoders(Mapping[str, "Encoder"]):
    """Encoders by name; beside those that have one, any folder with a model, and any OWNER/NAME of the hub."""

    others = ", or a folder that holds one, or OWNER/NAME of the hub"

    def __init__(self, named: Mapping[str, str], head: Head) -> None:
        self.named, self.head = named, head

    def __getitem__(self, name: str) -> Encoder:
        place = self.named.get(name, self.whole_name(name))
        if name in self.named or Path(place).is_dir() or _HUB.fullmatch(name):
            return Encoder(place, self.head)
        raise KeyError(name)

    def whole_name(self, name: str) -> str:
        """What a race records: of a folder its absolute path."""
        return str(Path(name).resolve()) if name not in self.named and Path(name).is_dir() else name

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __len__(self) -> int:
        return len(self.named)


@dataclass(frozen=True)
class Encoder:
    """Builds a model: pretrained weights, and a head that torch's global seed draws.

    Attributes:
        place: a folder, or the hub's name.
    """

    place: str
    head: Head

    def __call__(self) -> nn.Module:
        """The model in training mode.

        Raises:
            EdslError: without transformers, or where the model can't be had.
        """
        place = _found(self.place)
        network = _network(place, self.head)
        _tokenizer(place)
        return (Tagger if self.head.of_words else Classifier)(place, network, self.head)


class Classifier(nn.Module):
    """(rows of texts) → (rows, outputs)."""

    def __init__(self, place: str, network: nn.Module, head: Head) -> None:
        super().__init__()
        self.place, self.network, self.head = place, network, head

    def forward(self, texts: Any) -> Tensor:
        rows = [_tokens(self.place, row, self.head) for row in texts.rows]
        return self.network(**_padded(self.place, rows, next(self.parameters()).device)).logits


class Tagger(nn.Module):
    """(rows of words) → (rows, most words of a row, outputs): each word by its first token.

    A word behind the last token that fits has logits of 0.
    """

    def __init__(self, place: str, network: nn.Module, head: Head) -> None:
        super().__init__()
        self.place, self.network, self.head = place, network, head

    def forward(self, texts: Any) -> Tensor:
        rows = [_tokens(self.place, row, self.head) for row in texts.rows]
        logits = self.network(**_padded(self.place, rows, next(self.parameters()).device)).logits
        most = max(len(row) for row in texts.rows)
        found = logits.new_zeros(len(rows), most, logits.shape[-1])
        for number, row in enumerate(rows):
            starts = torch.from_numpy(row.starts).to(logits.device)
            found[number, : len(starts)] = logits[number, starts]
        return found


@dataclass(frozen=True)
class Tokens:
    """A row's tokens, which of two texts each is of, and where each word starts."""

    ids: np.ndarray
    types: np.ndarray
    starts: np.ndarray


@lru_cache(maxsize=2**18)
def _tokens(place: str, row: tuple[str, ...], head: Head) -> Tokens:
    tokenizer = _tokenizer(place)
    texts = (list(row),) if head.of_words else row
    most = min(head.length, tokenizer.model_max_length)
    found = tokenizer(*texts, truncation=True, max_length=most, is_split_into_words=head.of_words)
    ids = np.asarray(found["input_ids"], dtype=np.int32)
    types = np.asarray(found.get("token_type_ids", np.zeros_like(ids)), dtype=np.int32)
    words = [word for word in found.word_ids() if word is not None] if head.of_words else []
    starts = np.asarray([found.word_to_tokens(word).start for word in dict.fromkeys(words)], dtype=np.int64)
    return Tokens(ids, types, starts)


def _padded(place: str, rows: list[Tokens], device: torch.device) -> dict[str, Tensor]:
    """A batch, as long as its longest row."""
    tokenizer = _tokenizer(place)
    shape = len(rows), max(len(row.ids) for row in rows)
    ids, types = torch.full(shape, tokenizer.pad_token_id or 0), torch.zeros(shape, dtype=torch.int64)
    mask = torch.zeros(shape, dtype=torch.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.from_numpy(row.ids)
        types[number, : len(row.ids)] = torch.from_numpy(row.types)
        mask[number, : len(row.ids)] = 1
    batch = {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}
    taken = {"input_ids", "attention_mask", *tokenizer.model_input_names}
    return {name: value.to(device) for name, value in batch.items() if name in taken}


def _network(place: str, head: Head) -> Any:
    """The encoder and its head; from a folder that holds no weights an untrained one."""
    with _quiet() as transformers:
        one = transformers.AutoModelForSequenceClassification
        kind = transformers.AutoModelForTokenClassification if head.of_words else one
        asked = {"num_labels": head.outputs, "attn_implementation": "eager"}  # which can be differentiated twice
        try:
            folder = Path(place)
            if folder.is_dir() and not any(next(folder.glob(ending), None) for ending in _WEIGHTS):
                configuration = transformers.AutoConfig.from_pretrained(place, num_labels=head.outputs)
                return kind.from_config(configuration, attn_implementation="eager").train()
            return kind.from_pretrained(place, ignore_mismatched_sizes=True, **asked).train()
        except Exception as reason:  # what transformers raises differs by version and by what is wrong
            raise _unusable(place, reason) from None


@lru_cache(maxsize=8)
def _tokenizer(place: str) -> Any:
    with _quiet() as transformers:
        try:
            found = transformers.AutoTokenizer.from_pretrained(place, use_fast=True)
        except Exception as reason:  # as above
            raise _unusable(place, reason) from None
    if not found.is_fast:
        raise EdslError(f"model {place}: its tokenizer has no fast version, which tells words apart")
    return found


@lru_cache(maxsize=8)
def _found(place: str) -> str:
    """A folder, or a model of the hub that is here or can be downloaded.

    One file first: without a connection each file is tried for long.
    """
    if Path(place).is_dir():
        return place
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import logging
    except ImportError:
        raise EdslError(NEEDS) from None
    logging.set_verbosity_error()  # no line for each try at a connection
    try:
        hf_hub_download(place, "config.json", local_files_only=True)
    except Exception:  # not here
        try:
            hf_hub_download(place, "config.json")
        except Exception as reason:
            raise EdslError(
                f"model {place} is not here and can't be downloaded ({first_line(reason, 60)}); "
                "name a folder that holds one: --model FOLDER"
            ) from None
    return place


def _unusable(place: str, reason: BaseException) -> EdslError:
    return EdslError(f"model {place}: transformers can't load it ({first_line(reason, 100)})")


@contextmanager
def _quiet() -> Iterator[Any]:
    """transformers without its messages and progress bars.

    Raises:
        EdslError: where it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise EdslError(NEEDS) from None
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()
