"""What state is kept in, as a user chooses it: a dtype, a format of codes, or triangles of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.sharding import cut_in_rows, is_sharded, shards_of
from edsl.errors import EdslError, either, malformed_checkpoint, shown
from edsl.numerics.dtypes import DTYPES, FLOATING, working_dtype
from edsl.numerics.formats.catalogue import FORMS
from edsl.numerics.formats.form import BufferForm
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.formats.layout import is_worth_it, lies_in_rows
from edsl.numerics.formats.packed import Packed
from edsl.numerics.stochastic_rounding import rounded
from edsl.numerics.structures import ELEMENTS, ENTRIES, SCALAR, SYMMETRIC, TRIANGULAR

Kept = torch.dtype | BufferForm  # what one buffer is kept in
Stored = torch.dtype | StateFormat  # what loops see of one
StateDtype = Kept | dict[str, Kept] | None  # of all state, or of some buffers


def chosen_for(chosen: StateDtype, name: str) -> Kept | None:
    """What was asked for one buffer."""
    return chosen.get(name) if isinstance(chosen, dict) else chosen


def kept_for(chosen: StateDtype, name: str, structure: str, dtype: torch.dtype) -> Kept:
    """What a buffer of some structure is kept in, of a parameter of a dtype that is large enough for codes."""
    found, work = chosen_for(chosen, name), working_dtype(dtype)
    if structure == SCALAR:
        return torch.promote_types(found if isinstance(found, torch.dtype) else work, torch.float32)
    return (found.kept_for(structure) if isinstance(found, BufferForm) else found) or work


def form_for(
    chosen: StateDtype, name: str, shape: Sequence[int], structure: str = ELEMENTS, like: Any = None
) -> BufferForm | None:
    """The form in which a buffer of a parameter of this shape is kept, None where it is kept in a dtype.

    Codes are for parameters of more than a few elements; those in the parameter's shape, if that is sharded, where
    shards hold whole rows.

    Args:
        like: the parameter, which may be sharded.
    """
    found = kept_for(chosen, name, structure, torch.float32)
    if not isinstance(found, StateFormat):
        return found if isinstance(found, BufferForm) else None
    in_rows = structure != ELEMENTS or not is_sharded(like) or (lies_in_rows(shape) and cut_in_rows(like))
    return found if in_rows and is_worth_it(shape) else None


def dtype_for(chosen: StateDtype, name: str, structure: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of a buffer that isn't in codes, of a parameter of some dtype."""
    found = kept_for(chosen, name, structure, dtype)
    if isinstance(found, StateFormat):
        return working_dtype(dtype)
    return found.dtype if isinstance(found, BufferForm) else found


def rounds(chosen: StateDtype) -> bool:
    """Whether some state is rounded at random."""
    found = chosen.values() if isinstance(chosen, dict) else [chosen]
    return any(one is torch.bfloat16 or (isinstance(one, BufferForm) and _rounds(one)) for one in found)


def _rounds(form: BufferForm) -> bool:
    return not isinstance(form, Packed) or form.dtype is torch.bfloat16


def opened(buffer: Any, of: BufferForm | None, parameter: Any) -> Any:
    """A buffer's elements in the parameter's shape, decoded where it is in codes; of a sharded one as a DTensor."""
    if not isinstance(of, StateFormat) or buffer.dtype is not torch.uint8:
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


def read_state_dtype(value: Any, structures: Mapping[str, str]) -> StateDtype:
    """A dtype or form for all state, or a dictionary from buffers to theirs.

    Args:
        structures: of all buffers, by name.

    Raises:
        EdslError: for what is none, and for a buffer that isn't there or can't be kept so.
    """
    if not isinstance(value, dict):
        return read_kept(value)
    unknown = next((name for name in value if name not in structures), None)
    if unknown is not None:
        there = ", ".join(structures) or "none"
        raise EdslError(f"state_dtype: there is no buffer {shown(unknown)}; there are {there}")
    chosen = {name: read_kept(kept) for name, kept in value.items()}
    for name, kept in chosen.items():
        own = structures[name]
        if isinstance(kept, StateFormat) and own not in (ELEMENTS, ENTRIES):
            raise EdslError(
                f"state_dtype: {name} has not one value an element of its parameter, or belongs to the estimator, and "
                f"can't be kept in {kept.name}: choose {either(_choices(own))}"
            )
        if isinstance(kept, Packed) and own not in (SYMMETRIC, TRIANGULAR):
            raise EdslError(
                f"state_dtype: {name} isn't made of symmetric or triangular matrices, so that {kept.name} can't keep "
                f"it: choose {either(_choices(own))}"
            )
    return {name: kept for name, kept in chosen.items() if kept is not None}


def _choices(structure: str) -> list[str]:
    """What may keep a buffer of some structure."""
    of_triangles = structure in (SYMMETRIC, TRIANGULAR)
    fit = [name for name, form in FORMS.items() if isinstance(form, Packed) == of_triangles]
    return [*DTYPES, *(fit if of_triangles or structure in (ELEMENTS, ENTRIES) else ())]


def read_kept(value: Any) -> Kept | None:
    """A floating dtype or a form, by itself or by its name; None stays None.

    Raises:
        EdslError: for anything else.
    """
    if value is None or isinstance(value, BufferForm) or any(value is dtype for dtype in FLOATING):
        return value
    name = str(value).removeprefix("torch.") if isinstance(value, (str, torch.dtype)) else ""
    found = DTYPES.get(name) or FORMS.get(name)
    if found is None:
        raise EdslError(f"state_dtype must be {either([*DTYPES, *FORMS])}, got {shown(value)}")
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
        raise malformed_checkpoint(f"state_dtype must be a text, got {shown(text)}")
    pairs = [part.rpartition("=") for part in text.split(", ")]
    try:
        found = {name: read_kept(kept) for name, _, kept in pairs}
    except EdslError as unknown:
        raise malformed_checkpoint(str(unknown)) from None
    return found[""] if "" in found else {name: kept for name, kept in found.items() if kept is not None}


def name_of_kept(kept: Kept) -> str:
    """The name of a dtype or a form."""
    return kept.name if isinstance(kept, BufferForm) else str(kept).removeprefix("torch.")


def rounded_as(form: BufferForm | None, new: Tensor, buffer: Tensor, key: Tensor | None, place: int) -> Tensor:
    """What becomes of a buffer as it is kept: codes and bfloat16 rounded at random, right on average.

    Args:
        form: None where it is in a dtype.
        key, place: of the noise, as `edsl.numerics.stochastic_rounding.words` takes them; None draws nothing.
    """
    if form is not None:
        return form.closed(new, buffer, key, place)
    return rounded(new, key, place) if key is not None and buffer.dtype is torch.bfloat16 else new
