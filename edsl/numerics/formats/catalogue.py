"""All forms in which buffers may be kept, by name."""

from __future__ import annotations

from edsl.numerics.formats.companded import Companded, Segments
from edsl.numerics.formats.float8 import Float8
from edsl.numerics.formats.form import BufferForm
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.formats.packed import PACKED_BFLOAT16, PACKED_FLOAT32

FORMATS: dict[str, StateFormat] = {
    one.name: one
    for one in (
        Companded("int8", 8, unsigned=Segments(4, 16, 255), signed=Segments(4, 8, 127)),
        Companded("int4", 4, unsigned=Segments(1, 8, 15), signed=Segments(1, 4, 7)),
        Float8("float8_e4m3fn", 8, mantissa=3, bias=7, top=8),
        Float8("float8_e5m2", 8, mantissa=2, bias=15, top=15),
    )
}
FORMS: dict[str, BufferForm] = {**FORMATS, **{one.name: one for one in (PACKED_BFLOAT16, PACKED_FLOAT32)}}
