"""In how many passes over a layer a recorded step can be taken, and what each pass computes and writes.

A step without norms is one pass. A norm is known after a pass, so Lamb needs two: the first computes
r, its norm and the moments, the second moves θ. What the second needs of the first is either kept
aside (r, one value an element, cheap while a layer fits the caches) or computed again from what is in
memory by then: the new moments. Then nothing is allocated, and each tensor passes once more at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edsl.codegen.expression import Expression, postorder
from edsl.codegen.trace import Trace

SUMS = ("norm", "mean", "total")  # operations that are sums over a layer


@dataclass(frozen=True)
class Loop:
    """One loop over the elements of a layer.

    Attributes:
        sums: the norms, means and totals whose sums it takes.
        buffers: the places of the memory that it writes.
        moves: it writes θ, or what flows out.
        spilled: values that it keeps aside for later passes.
        available: what it may read instead of computing it: expression → ("buffer" or "kept", place).
    """

    sums: tuple[Expression, ...]
    buffers: tuple[int, ...]
    moves: bool
    spilled: tuple[Expression, ...]
    available: dict[Expression, tuple[str, int]]

    def roots(self, recording: Trace) -> list[Expression]:
        """The values that it is taken for."""
        roots = [total.parts[0] for total in self.sums] + list(self.spilled)
        return roots + [recording.after[i] for i in self.buffers] + (recording.moved if self.moves else [])

    def tensor_of(self, node: Expression) -> str:
        """The tensor that an element is read from, "" where it is computed."""
        if node in self.available:
            kind, place = self.available[node]
            return f"{kind}{place}"
        if node.op != "read":
            return ""
        name, place = node.parts
        return f"{name}{place}" if name in ("buffer", "normal") else name

    def touched(self, recording: Trace) -> list[str]:
        """The tensors that it reads, then those that it writes."""
        read = dict.fromkeys(filter(None, map(self.tensor_of, self.elements(self.roots(recording)))))
        written = [f"buffer{i}" for i in self.buffers] + [f"kept{i}" for i in range(len(self.spilled))]
        return [*read, *written, *(["out"] if self.moves else [])]

    def elements(self, roots: Sequence[Expression]) -> list[Expression]:
        """The elements that it computes or reads for these values, parts first."""

        def needed(node: Expression) -> Iterable[Expression]:
            return () if node in self.available else (part for part in node.operands if part.is_element)

        return postorder([root for root in roots if root.is_element], needed)


@dataclass(frozen=True)
class LoopSchedule:
    """All passes of a step, and how many values an element they keep aside."""

    passes: tuple[Loop, ...]
    spilled: int


def schedule(recording: Trace, exact: tuple[bool, ...], keep: bool) -> LoopSchedule:
    """Cut a step into passes.

    Args:
        exact: for each buffer, whether what was written to it reads back unrounded.
        keep: keep values aside rather than compute them again.
    """
    sums = _sums([*recording.moved, *(recording.after[i] for i in recording.changed), *recording.sums])
    changed = [i for i in recording.changed if i not in recording.scalars]
    last = max((total.round for total in sums), default=0)
    early = {i for i in changed if last > 0 and recording.after[i].round == 0}
    while True:
        stored = {recording.after[i]: ("buffer", i) for i in sorted(early) if exact[i] and not keep}
        late = [*recording.moved, *(recording.after[i] for i in changed if i not in early)]
        wanted = [late if number == last else [] for number in range(last + 1)]
        for total in sums:
            wanted[total.round - 1].append(total.parts[0])
        kept, overwritten = _frontier([root for roots in wanted[1:] for root in roots], stored, keep)
        lost = {old.parts[1] for old in overwritten if old.parts[0] == "buffer"} & early
        if not lost:
            break
        early -= lost  # a later pass reads the old value: write the new one at the end
    available = {**stored, **{value: ("kept", place) for place, value in enumerate(kept)}}
    made = []
    for number in range(last + 1):
        ends = number == last
        made.append(
            Loop(
                sums=tuple(total for total in sums if total.round == number + 1),
                buffers=tuple(i for i in changed if (i not in early if ends else number == 0 and i in early)),
                moves=ends and bool(recording.moved),
                spilled=tuple(kept) if number == 0 else (),
                available=available if number > 0 else {},
            )
        )
    if recording.sums:  # nothing is written behind them
        made.pop()
    return LoopSchedule(tuple(made), len(kept))


def scalars_met(elements: Sequence[Expression], roots: Sequence[Expression]) -> list[Expression]:
    """The scalars that meet elements, or are written for each."""
    parts = [part for node in elements if not node.is_leaf for part in node.parts]
    return list(dict.fromkeys(part for part in [*parts, *roots] if not part.is_element))


def _sums(roots: list[Expression]) -> list[Expression]:
    return [node for node in postorder(roots) if node.op in SUMS]


def _frontier(
    roots: list[Expression], stored: dict[Expression, tuple[str, int]], keep: bool
) -> tuple[list[Expression], list[Expression]]:
    """What later passes take from the first: values to keep aside, and elements that are read again."""
    kept: dict[Expression, None] = {}
    leaves: dict[Expression, None] = {}
    seen: set[Expression] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node in seen or node in stored or not node.is_element:
            continue
        seen.add(node)
        if node.op == "read":
            leaves[node] = None
        elif keep and node.round == 0:
            kept[node] = None
        else:
            stack.extend(node.parts)
    return list(kept), list(leaves)


def is_wide(total: Expression) -> bool:
    """Whether a sum is taken in double: a total, and a norm of what float32 may not hold the squares of.

    That are gradients, but not θ or a quotient (Lamb's r).
    """
    if total.op == "total":
        return True
    return total.op == "norm" and not _is_modest(total.parts[0])


def _is_modest(node: Expression) -> bool:
    if not node.is_element:
        return True
    if node.op in ("+", "-", "*", "neg"):
        return all(map(_is_modest, node.parts))
    return node.op in ("/", "sign", "positive", "joined") or (node.op == "read" and node.parts[0] == "theta")
