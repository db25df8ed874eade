"""Steps on a GPU as Triton kernels: a few launches for all layers that share a step.

Nothing here waits for the device. Where the layers lie is uploaded when it changes, which it seldom
does; the live values are uploaded once a step.
"""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edsl.codegen.triton import BLOCK, LEADING, kernels
from edsl.errors import CompilerFailed
from edsl.kernels.kernel import Kernel, KernelCache, Late, LaunchTable, Part, Row
from edsl.kernels.module_cache import import_source
from edsl.numerics.stochastic_rounding import key_of
from edsl.step.inputs import LiveLayout
from edsl.step.parameter import ParameterStep
from edsl.step.plan import GroupPlan


@dataclass(frozen=True)
class Tile:
    """How a step is cut into programs: the elements that one steps, a power of 2, and the warps that it runs on."""

    block: int = BLOCK
    warps: int = 4


class CudaKernel(Kernel):
    """A step in Triton, on one device.

    Args:
        tile: how it is cut into programs.

    Attributes:
        made: the text of its kernels.

    Raises:
        ImportError: without Triton.
        CompilerFailed: where Triton can't compile it, or load it.
    """

    def __init__(self, part: Part, normals: int, live: LiveLayout, device: torch.device, tile: Tile) -> None:
        super().__init__(part, normals, live)
        self.device, self.warps = device, tile.warps
        rounds = torch.bfloat16 in part.signature.buffers or bool(part.signature.formats)
        self.rounds = rounds or part.recording.weights.rounds
        self.made = kernels(*part, normals, live.k, tile.block)
        module = import_source(self.made.text)
        self._functions: list[tuple[Any, bool]] = [
            (getattr(module, name), name.startswith("pass")) for name in self.made.names
        ]
        self._places: dict[Any, DeviceTable] = {}
        self._load()

    def batch(self, number: int) -> CudaLaunchTable:
        return CudaLaunchTable(self, number)

    def launch(self, rows: Sequence[Row], numbers: Sequence[float], late: Sequence[Late], place: Any) -> None:
        live = self.uploaded(torch.tensor(numbers, dtype=torch.float64, device="cpu"))
        for there, value in late:
            live[there].copy_(value, non_blocking=True)
        entries, first = array("q"), 0
        for row in rows:
            entries.extend((row.count, first, 0, key_of(row.name, 0) if self.rounds else 0, row.width, *row.addresses))
            first += self.made.blocks(row.count, row.width)
        self(entries, place, live)

    def __call__(self, rows: array[int], number: Any, numbers: Tensor) -> None:
        """Step every layer of a table.

        Args:
            rows: of the table, one after another, each with the entries that `edsl.codegen.triton.columns` names.
            number: of the segment, or by what else a table of the same layers is known.
            numbers: the live values, on the device.
        """
        places = self._places.get(number)
        if places is None or places.rows != rows:
            places = self._places[number] = DeviceTable(self, rows, places)
        self._launch(places.count, places.blocks, places.tensors(numbers), places.aligned)

    def uploaded(self, values: Tensor) -> Tensor:
        """Values on the device, without waiting for it."""
        pinned = values.pin_memory() if self.device.type == "cuda" else values
        return pinned.to(self.device, non_blocking=True)

    def _load(self) -> None:
        """Launch no programs: what can fail does so now, while torch.compile can still take the step."""
        dtypes = (torch.int64, torch.int32, torch.float64, torch.float64, torch.float64)
        try:
            with warnings.catch_warnings():  # the compiler's warnings are about itself
                warnings.simplefilter("ignore")
                self._launch(0, 0, [torch.empty(1, dtype=dtype, device=self.device) for dtype in dtypes], True)
        except Exception as reason:  # Triton raises whatever its compilers and the driver do
            raise CompilerFailed("Triton", reason) from reason

    def _launch(self, count: int, blocks: int, tensors: Sequence[Tensor], aligned: bool) -> None:
        with torch.cuda.device(self.device.index if self.device.type == "cuda" else -1):  # −1 changes nothing
            for function, over_blocks in self._functions:
                grid = (blocks if over_blocks else count,)
                function[grid](*tensors, blocks, aligned, num_warps=self.warps, enable_fp_fusion=False)


class DeviceTable:
    """Where the layers of a batch lie, on the device, and room for what they share and sum up.

    Attributes:
        rows: of the table.
        count, blocks: how many layers and blocks there are.
        aligned: every tensor begins at a multiple of 16 bytes.
    """

    def __init__(self, kernel: CudaKernel, rows: array[int], before: DeviceTable | None) -> None:
        made = kernel.made
        self.rows = rows[:]
        table = torch.frombuffer(self.rows, dtype=torch.int64).view(-1, made.width)
        self.count = len(table)
        self.aligned = not bool((table[:, len(LEADING) :] % 16).any())
        self._table = kernel.uploaded(table)
        self._sizes = table[:, [LEADING.index("count"), LEADING.index("width")]]
        if before is not None and torch.equal(before._sizes, self._sizes):
            self.blocks, self._layers, self._shared, self._partials = before._kept
        else:
            numbers = torch.arange(self.count, dtype=torch.int32, device="cpu")
            layers = numbers.repeat_interleave(made.blocks(*self._sizes.unbind(1)))
            self.blocks, self._layers = len(layers), kernel.uploaded(layers)
            self._shared = torch.empty(self.count * made.scalars, dtype=torch.float64, device=kernel.device)
            self._partials = torch.empty(self.blocks * made.sums, dtype=torch.float64, device=kernel.device)

    @property
    def _kept(self) -> tuple[int, Tensor, Tensor, Tensor]:
        return self.blocks, self._layers, self._shared, self._partials

    def tensors(self, numbers: Tensor) -> tuple[Tensor, ...]:
        """What kernels take."""
        return self._table, self._layers, numbers, self._shared, self._partials


class CudaLaunchTable(LaunchTable):
    """Layers that the same launches step."""

    leading = LEADING

    def __init__(self, kernel: CudaKernel, number: int) -> None:
        super().__init__(kernel, number)
        self._call = kernel
        self._blocks = 0
        self._numbers: list[float] = []
        self._late: list[Late] = []  # where what is known late belongs among the numbers

    def run(self) -> None:
        numbers = self._call.uploaded(torch.tensor(self._numbers, dtype=torch.float64, device="cpu"))
        for place, value in self._late:
            numbers[place].copy_(value, non_blocking=True)
        self._call(self.table, self.place, numbers)

    def _leading(self, item: ParameterStep, live: int) -> tuple[int, ...]:
        first = self._blocks
        self._blocks += self._call.made.blocks(item.count, item.width)
        return item.count, first, live, key_of(item.name, 0) if self._call.rounds else 0, item.width

    def _forget(self) -> None:
        super()._forget()
        self._numbers.clear()
        self._late.clear()

    def _live(self, plan: GroupPlan, k: int, late: Sequence[Late]) -> int:
        """Where the live values of a plan begin among the numbers."""
        begin = len(self._numbers)
        self._numbers += plan.live_layout.with_room(plan.numbers(k), late)
        self._late += [(begin + place, value) for place, value in late]
        return begin


class CudaKernels(KernelCache):
    """All steps of an optimizer in Triton.

    Args:
        device: the type of device; "cpu" for Triton's interpreter.
        tile: how steps are cut into programs.
    """

    language = "Triton"

    def __init__(self, device: str = "cuda", tile: Tile | None = None) -> None:
        super().__init__()
        self.device, self.tile = device, tile or Tile()

    @property
    def launches(self) -> int:
        """How many kernels a step launches where each of its compiled steps takes one batch of layers."""
        made = (kernel for found in self._kernels.values() if found for kernel in found[1])
        return sum(len(one.made.names) for one in made if isinstance(one, CudaKernel))

    def _compiled(
        self, parts: Sequence[Part], normals: int, live: LiveLayout, device: torch.device
    ) -> Sequence[CudaKernel]:
        if torch.version.hip is not None:
            raise NotImplementedError("edsl's Triton kernels need an NVIDIA GPU")
        return [CudaKernel(part, normals, live, device, self.tile) for part in parts]
