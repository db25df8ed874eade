"""Parameter sets to measure optimizers on: the names and shapes of known models, or of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, nearest, shown

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]


def parameter_set(name_or_path: str) -> dict[str, Shape]:
    """The names and shapes of a model's parameters, in its own order.

    Names are those of the usual modules, so that biases and norms are told by name.

    Args:
        name_or_path: one of SETS, or a file FILE.json that holds {"name": [size, …], …}.

    Raises:
        EdslError: for an unknown name, or a file that can't be read or holds anything else.

    Example:
        >>> from edsl.lab.benchmarks.parameter_sets import parameter_set
        >>> parameter_set("mlp")["layers.0.weight"]
        (1024, 1024)
    """
    if name_or_path in SETS:
        return dict(SETS[name_or_path]())
    if not name_or_path.endswith(".json"):
        known = nearest(name_or_path, SETS, "there are")
        raise EdslError(f"unknown parameter set {shown(name_or_path)}; {known} (or a FILE.json with names and shapes)")
    return _read(Path(name_or_path))


def gpt2(width: int = 768, depth: int = 12) -> Named:
    """GPT-2 as in transformers, its head tied to wte; 124M as it stands."""
    yield "transformer.wte.weight", (50257, width)
    yield "transformer.wpe.weight", (1024, width)
    for number in range(depth):
        layer = f"transformer.h.{number}"
        yield from _affine(f"{layer}.ln_1", width)
        yield from _affine(f"{layer}.attn.c_attn", width, 3 * width)
        yield from _affine(f"{layer}.attn.c_proj", width, width)
        yield from _affine(f"{layer}.ln_2", width)
        yield from _affine(f"{layer}.mlp.c_fc", width, 4 * width)
        yield from _affine(f"{layer}.mlp.c_proj", 4 * width, width)
    yield from _affine("transformer.ln_f", width)


def resnet20() -> Named:
    """He et al. 2016, section 4.2, for CIFAR-10, with projections as shortcuts (option B)."""
    yield from _convolution("conv1", "bn1", 3, 16, 3)
    channels = 16
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(3):
            layer = f"layer{stage}.{block}"
            yield from _convolution(f"{layer}.conv1", f"{layer}.bn1", channels, width, 3)
            yield from _convolution(f"{layer}.conv2", f"{layer}.bn2", width, width, 3)
            if channels != width:
                yield from _shortcut(layer, channels, width)
            channels = width
    yield from _affine("fc", 10, 64, outputs=10)


def resnet50() -> Named:
    """As in torchvision, for ImageNet."""
    yield from _convolution("conv1", "bn1", 3, 64, 7)
    channels = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            layer = f"layer{stage}.{block}"
            yield from _convolution(f"{layer}.conv1", f"{layer}.bn1", channels, width, 1)
            yield from _convolution(f"{layer}.conv2", f"{layer}.bn2", width, width, 3)
            yield from _convolution(f"{layer}.conv3", f"{layer}.bn3", width, 4 * width, 1)
            if block == 0:
                yield from _shortcut(layer, channels, 4 * width)
            channels = 4 * width
    yield from _affine("fc", 1000, 2048, outputs=1000)


def mlp() -> Named:
    """Ten linear layers; 10.5M."""
    for number in range(10):
        yield from _affine(f"layers.{number}", 1024, 1024)


def llama() -> Named:
    """Llama 3.2 1B as in transformers, its head tied to the embedding; 1.24B."""
    width, inner, heads = 2048, 8192, 512  # of keys and values, which are grouped
    yield "model.embed_tokens.weight", (128256, width)
    for number in range(16):
        layer = f"model.layers.{number}"
        yield f"{layer}.self_attn.q_proj.weight", (width, width)
        yield f"{layer}.self_attn.k_proj.weight", (heads, width)
        yield f"{layer}.self_attn.v_proj.weight", (heads, width)
        yield f"{layer}.self_attn.o_proj.weight", (width, width)
        yield f"{layer}.mlp.gate_proj.weight", (inner, width)
        yield f"{layer}.mlp.up_proj.weight", (inner, width)
        yield f"{layer}.mlp.down_proj.weight", (width, inner)
        yield f"{layer}.input_layernorm.weight", (width,)
        yield f"{layer}.post_attention_layernorm.weight", (width,)
    yield "model.norm.weight", (width,)


def tiny() -> Named:
    """800 tensors of 16 to 64 elements, where a step is all overhead."""
    for number in range(400):
        yield f"layers.{number}.weight", (8, 2 + number % 7)
        yield f"layers.{number}.bias", (16 + number % 49,)


def heavyball() -> Named:
    """32 large matrices, as HeavyBall's own benchmark takes."""
    for number in range(32):
        yield f"layers.{number}.weight", (2048, 2048)


SETS: dict[str, Callable[[], Named]] = {
    "gpt2": gpt2,
    "gpt2-medium": lambda: gpt2(width=1024, depth=24),
    "resnet20": resnet20,
    "resnet50": resnet50,
    "mlp": mlp,
    "llama-1b": llama,
    "tiny": tiny,
    "heavyball": heavyball,
}


def _affine(name: str, *shape: int, outputs: int | None = None) -> Named:
    """Weight and bias; the outputs are the last size of the weight where it is not said."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", (shape[-1] if outputs is None else outputs,)


def _convolution(name: str, norm: str, channels: int, width: int, size: int) -> Named:
    """A convolution without bias, and the batch norm behind it."""
    yield f"{name}.weight", (width, channels, size, size)
    yield from _affine(norm, width)


def _shortcut(layer: str, channels: int, width: int) -> Named:
    """A projection. torchvision calls its parts 0 and 1, by which no norm is told."""
    yield from _convolution(f"{layer}.downsample.conv", f"{layer}.downsample.norm", channels, width, 1)


def _read(path: Path) -> dict[str, Shape]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_Pairs)
    except OSError as reason:
        raise EdslError(f"{path} can't be read: {reason.strerror or reason}") from None
    except (ValueError, RecursionError) as reason:  # not JSON, not text, or nested without end
        raise EdslError(f"{path} is not JSON ({str(reason)[:80]}); {_EXPECTED}") from None
    if not isinstance(held, _Pairs) or not held:
        raise EdslError(f"{path} must hold names and shapes, got {_kind(held)}; {_EXPECTED}")
    shapes: dict[str, Shape] = {}
    for name, sizes in held:
        if not name or name in shapes:
            said = f"got {shown(name)} twice" if name else "got an empty one"
            raise EdslError(f"{path}: each parameter needs a name of its own, {said}")
        if isinstance(sizes, _Pairs) or not isinstance(sizes, list) or not all(map(_is_size, sizes)):
            raise EdslError(f"{path}: {shown(name)} needs a list of whole sizes ≥ 1, got {_kind(sizes)}")
        shapes[name] = tuple(sizes)
    return shapes


_EXPECTED = 'expected {"name": [size, …], …}, such as {"head.weight": [10, 64]}'


class _Pairs(list[Any]):
    """A JSON object as it is written, so that a name given twice is seen."""


def _is_size(size: Any) -> bool:
    return type(size) is int and size >= 1


def _kind(value: Any) -> str:
    if isinstance(value, _Pairs):
        return "an object" if value else "an empty object"
    return shown(value)
