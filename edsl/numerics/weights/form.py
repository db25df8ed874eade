"""What a form of weights below float32 is: how the value of a weight is read, and how a new one is kept."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from edsl.errors import EdslError
from edsl.numerics.dtypes import HALF, working_dtype

WEIGHT, REST = 0xFFFF, 0xFFFE  # the numbers by which noise is drawn, beside those of buffers


class WeightForm:
    """How a parameter in half precision keeps the value that its steps compute.

    A form may keep a rest beside θ, in one buffer of the parameter's state. A step reads x = join(θ, rest), which all
    stages see as θ, and the next x is cut into θ and its rest.

    Attributes:
        name: as users write it.
        buffer: the name of the rest in a parameter's state, "" where there is none.
        rounds: it draws noise.
        dtypes: of the weights that it takes.
    """

    name: ClassVar[str]
    buffer: ClassVar[str] = ""
    rounds: ClassVar[bool] = False
    dtypes: ClassVar[tuple[torch.dtype, ...]] = HALF

    def rest_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """That of the rest of weights of a dtype."""
        return dtype

    def rest_dtypes(self, dtype: torch.dtype) -> dict[str, torch.dtype]:
        """The same by the name of the rest, if there is one."""
        return {self.buffer: self.rest_dtype(dtype)} if self.buffer else {}

    def join(self, theta: Tensor, rest: Tensor | None) -> Tensor:
        """The value of weights, in the dtype of arithmetic."""
        return theta.to(working_dtype(theta.dtype))

    def cut(self, x: Tensor, dtype: torch.dtype, key: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What is kept of a value: θ in its dtype, and the rest.

        Args:
            key: of the noise at this step, as `edsl.numerics.stochastic_rounding.words` takes it; None where the form
                draws none.
        """
        raise NotImplementedError

    def cpp(self, dtype: torch.dtype) -> str:
        """The same in C++, for weights of a dtype.

        Functions `put_weight(θ, x, word)`; with a rest `joined(θ, rest)`, `rest_of(x)` and `put_rest(rest, x, word)`;
        a word is that of `word_at`.
        """
        return ""

    def triton(self, dtype: torch.dtype) -> str:
        """The same in Triton: `weight_of(x, word)`; with a rest `joined`, `rest_of` and `stored_rest(x, word)`."""
        return ""

    def check(self, dtype: torch.dtype, which: str) -> None:
        """Raises EdslError for weights that it can't keep."""
        if dtype in HALF and dtype not in self.dtypes:
            taken = " or ".join(str(one).removeprefix("torch.") for one in self.dtypes)
            raise EdslError(
                f"weights={self.name!r} takes {taken}; {which} is {str(dtype).removeprefix('torch.')}: "
                "use weights='kahan' or 'stochastic'"
            )
