"""What state is kept in, as a user chooses it: a dtype, or a format of codes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.sharding import cut_in_rows, is_sharded, shards_of
from edsl.errors import EdslError, either, shown
from edsl.numerics.dtypes import DTYPES, working_dtype
from edsl.numerics.formats.catalogue import FORMATS
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.formats.layout import is_worth_it, lies_in_rows
from edsl.numerics.stochastic_rounding import rounded, words_of_codes

Kept = torch.dtype | StateFormat  # what one buffer is kept in
StateDtype = Kept | dict[str, Kept] | None  # of all state, or of some buffers


def chosen_for(chosen: StateDtype, name: str) -> Kept | None:
    """What was asked for one buffer."""
    return chosen.get(name) if isinstance(chosen, dict) else chosen


def format_for(chosen: StateDtype, name: str, shape: Sequence[int], like: Any = None) -> StateFormat | None:
    """The format of codes of an element-wise buffer of a parameter, None where it is kept in a dtype.

    That is so of few elements, and of a parameter whose shards don't hold whole rows.

    Args:
        like: the parameter, which may be sharded.
    """
    found = chosen_for(chosen, name)
    if not isinstance(found, StateFormat) or not is_worth_it(shape):
        return None
    in_rows = not is_sharded(like) or (lies_in_rows(shape) and cut_in_rows(like))
    return found if in_rows else None


def dtype_for(chosen: StateDtype, name: str, dtype: torch.dtype, own_shape: bool = False) -> torch.dtype:
    """The dtype of a buffer that isn't in codes, of a parameter of some dtype.

    Args:
        own_shape: it hasn't the parameter's; beside codes such a factor is kept in bfloat16.
    """
    found = chosen_for(chosen, name)
    if isinstance(found, StateFormat):
        return torch.bfloat16 if own_shape else working_dtype(dtype)
    return found or working_dtype(dtype)


def scalar_dtype(chosen: StateDtype, name: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of one number a layer: float32 at least."""
    found = chosen_for(chosen, name)
    return torch.promote_types(found if isinstance(found, torch.dtype) else working_dtype(dtype), torch.float32)


def opened(buffer: Any, of: StateFormat | None, parameter: Any) -> Any:
    """A buffer's elements in the parameter's shape, decoded where it is in codes; of a sharded one as a DTensor."""
    if of is None or buffer.dtype is not torch.uint8:
        return buffer
    shards, dtype = shards_of(parameter), working_dtype(parameter.dtype)
    if shards is None or not is_sharded(buffer):
        return of.unpacked(buffer, parameter.numel(), dtype).view(parameter.shape)
    shape = shards.local(parameter).shape
    return shards.wrap(of.unpacked(buffer.to_local(), prod(shape), dtype).view(shape))


def in_codes(values: Any, form: StateFormat, parameter: Any) -> Any:
    """Values of a parameter's shape as codes, each the next below or above; of a sharded one as a DTensor."""
    shards = shards_of(parameter)
    local = values if shards is None else shards.local(values)
    shape = form.shape(tuple(parameter.shape))
    rows = shape[0] if shards is None else local.shape[0]
    flat = local.to(working_dtype(parameter.dtype)).contiguous().view(-1)
    packed = form.packed(flat, rows, torch.full(flat.shape, 1 << 31, dtype=torch.int64, device=flat.device))
    return packed if shards is None else shards.beside(packed, shape)


def read_state_dtype(value: Any, buffers: Sequence[str], coded: Collection[str] = ()) -> StateDtype:
    """A dtype or format for all state, or a dictionary from buffers to theirs.

    Args:
        coded: the buffers that a format of codes can keep: those of one value an element.

    Raises:
        EdslError: for what is none, and for a buffer that isn't there or can't be in codes.
    """
    if not isinstance(value, dict):
        return read_kept(value)
    unknown = next((name for name in value if name not in buffers), None)
    if unknown is not None:
        raise EdslError(f"state_dtype: there is no buffer {shown(unknown)}; there are {', '.join(buffers) or 'none'}")
    chosen = {name: read_kept(kept) for name, kept in value.items()}
    for name, kept in chosen.items():
        if isinstance(kept, StateFormat) and name not in coded:
            raise EdslError(
                f"state_dtype: {name} has not one value an element of its parameter, or belongs to the estimator, and "
                f"can't be kept in {kept.name}: choose {either(DTYPES)}"
            )
    return {name: kept for name, kept in chosen.items() if kept is not None}


def read_kept(value: Any) -> Kept | None:
    """A floating dtype or a format, by itself or by its name; None stays None.

    Raises:
        EdslError: for anything else.
    """
    if value is None or isinstance(value, StateFormat) or any(value is dtype for dtype in DTYPES.values()):
        return value
    name = str(value).removeprefix("torch.") if isinstance(value, (str, torch.dtype)) else ""
    found = DTYPES.get(name) or FORMATS.get(name)
    if found is None:
        raise EdslError(f"state_dtype must be {either([*DTYPES, *FORMATS])}, got {shown(value)}")
    return found


def text_of(chosen: StateDtype) -> str:
    """A choice as a checkpoint keeps it: a name, or names by buffer, as "e.mean=int8, lamb.m=bfloat16"; "" for none."""
    if isinstance(chosen, dict):
        return ", ".join(f"{name}={name_of_kept(kept)}" for name, kept in chosen.items())
    return "" if chosen is None else name_of_kept(chosen)


def from_text(text: Any) -> StateDtype:
    """The choice that a checkpoint's text says, None for none.

    Raises:
        EdslError: for another text.
    """
    if text in (None, ""):
        return None
    if not isinstance(text, str):
        raise EdslError(f"malformed checkpoint: state_dtype must be a text, got {shown(text)}")
    if "=" not in text:
        return read_kept(text)
    pairs = [part.partition("=") for part in text.split(", ")]
    found = {name: read_kept(kept) for name, _, kept in pairs}
    return {name: kept for name, kept in found.items() if kept is not None}


def name_of_kept(kept: Kept) -> str:
    """The name of a dtype or a format."""
    return kept.name if isinstance(kept, StateFormat) else str(kept).removeprefix("torch.")


def rounded_as(form: StateFormat | None, new: Tensor, buffer: Tensor, key: Tensor | None, place: int) -> Tensor:
    """What becomes of a buffer as it is kept: codes and bfloat16 rounded at random, right on average.

    Args:
        form: of its codes, None where it is in a dtype.
        key, place: of the noise, as `edsl.numerics.stochastic_rounding.words` takes them; None draws nothing.
    """
    if key is None:
        return new
    if form is not None:
        flat = new.reshape(-1)
        return form.packed(flat, buffer.shape[0], words_of_codes(flat, key, place))
    return rounded(new, key, place) if buffer.dtype is torch.bfloat16 else new
