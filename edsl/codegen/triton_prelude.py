"""What every module of Triton kernels begins with: where a block lies, powers, angles, rounding to half precision."""

from __future__ import annotations

from edsl.numerics.stochastic_rounding import TRITON

PRELUDE = f'''\
import triton
import triton.language as tl


@triton.jit
def begin_of(row, PLACE: tl.constexpr, begin, TYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """Where a block of a tensor begins."""
    pointer = tl.load(row + PLACE).to(tl.pointer_type(TYPE))
    if ALIGNED:
        pointer = tl.multiple_of(pointer, 16)
    return pointer + begin


@triton.jit
def power(x, y):
    """xʸ, in float64."""
    base, exponent = x.to(tl.float64), y.to(tl.float64)
    size = tl.exp(exponent * tl.log(tl.abs(base)))
    signed = tl.where(tl.floor(exponent / 2) * 2 == exponent, size, -size)
    negative = tl.where(tl.floor(exponent) == exponent, signed, float("nan"))
    return tl.where(exponent == 0, 1.0, tl.where(base < 0, negative, size))


@triton.jit
def atan2(y, x):
    """The angle of the point (x, y), in float64, by Cephes' rational approximation of the arc tangent."""
    high, wide = tl.abs(y.to(tl.float64)), tl.abs(x.to(tl.float64))
    low, top = tl.where(high > wide, wide, high), tl.where(high > wide, high, wide)
    slope = tl.where(top == 0, 0.0, low / tl.where(top == 0, 1.0, top))
    steep = slope > 0.66
    r = tl.where(steep, (slope - 1) / (slope + 1), slope)
    z = r * r
    p = (((-8.750608600031904e-1 * z - 1.615753718733365e1) * z - 7.500855792314705e1) * z - 1.2288666844901361e2) * z
    q = (((z + 2.485846490142306e1) * z + 1.650270098316988e2) * z + 4.328810604912903e2) * z + 4.853903996359137e2
    angle = r + r * z * (p - 6.485021904942025e1) / (q * z + 1.945506571482614e2)
    angle = tl.where(steep, angle + 0.7853981633974483, angle)
    angle = tl.where(high > wide, 1.5707963267948966 - angle, angle)
    angle = tl.where(x < 0, 3.141592653589793 - angle, angle)
    return tl.where(y < 0, -angle, angle)


{TRITON}
'''
