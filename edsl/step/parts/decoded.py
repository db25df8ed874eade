"""Codes of a parameter that is several matrices: its parts step on their values, which become codes again behind them.

Parts needn't begin where rows of codes do; so these alone are decoded as a whole, one parameter at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edsl.numerics.dtypes import working_dtype
from edsl.step.parameter import ParameterStep
from edsl.step.segment import Segment


def decoded(segment: Segment, buffers: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> list[Tensor]:
    """A segment's buffers of which codes in the parameter's shape are decoded to a dtype; the others as they are."""
    return [
        segment.opened(place, buffer, shape, dtype)
        if buffer.dtype is torch.uint8 and place not in segment.factors
        else buffer
        for place, buffer in enumerate(buffers)
    ]


def decoded_in(segment: Segment, item: ParameterStep) -> list[Tensor]:
    """An item's buffers of a segment in the parameter's shape, codes decoded."""
    found = item.decoded.get(segment.begin)
    if found is None:
        lying, dtype = item.buffers_in_memory(segment), working_dtype(item.local.dtype)
        found = item.decoded[segment.begin] = decoded(segment, lying, item.local.shape, dtype)
    return found


def encode(segment: Segment, item: ParameterStep) -> None:
    """Bring what an item's parts have made of decoded buffers back into codes."""
    key = torch.tensor(item.key, device=item.local.device)
    encode_into(segment, item.buffers_in_memory(segment), item.decoded.pop(segment.begin, []), key)


def encode_into(segment: Segment, buffers: Sequence[Tensor], new: Sequence[Tensor], key: Tensor | None) -> None:
    """Write what `decoded` gave, and a step has changed since, to the buffers that it was decoded from."""
    for place, (buffer, values) in enumerate(zip(buffers, new)):
        if values is not buffer:
            segment.write(place, buffer, values, key)
