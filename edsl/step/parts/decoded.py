"""Codes of a parameter that is several matrices: its parts step on their values, which become codes again behind them.

Parts needn't begin where rows of codes do; so these alone are decoded as a whole, one parameter at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.numerics.dtypes import working_dtype
from edsl.step.parameter import ParameterStep
from edsl.step.segment import Segment


def decoded_in(segment: Segment, item: ParameterStep) -> list[Tensor]:
    """An item's buffers of a segment in the parameter's shape, codes decoded."""
    found = item.decoded.get(segment.begin)
    if found is None:
        shape, dtype = item.local.shape, working_dtype(item.local.dtype)
        found = item.decoded[segment.begin] = [
            segment.opened(place, buffer, shape, dtype) if segment.buffers[place] in item.coded else buffer
            for place, buffer in enumerate(item.buffers_in_memory(segment))
        ]
    return found


def encode(segment: Segment, item: ParameterStep) -> None:
    """Bring what an item's parts have made of decoded buffers back into codes."""
    key = torch.tensor(item.key, device=item.local.device)
    lying = item.buffers_in_memory(segment)
    for place, new in enumerate(item.decoded.pop(segment.begin, ())):
        if new is not lying[place]:
            segment.write(place, lying[place], new, key)
