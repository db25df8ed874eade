"""Letters for the stages of a pipeline: no two quantities share one."""

from __future__ import annotations

RESERVED: tuple[str, ...] = ("θ", "g", "ĝ", "u", "Δ", "D", "f", "k", "j", "I", "z")  # what is written between stages
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Alphabet:
    """Assigns each quantity a letter; the second quantity called λ becomes λ⁽²⁾."""

    def __init__(self) -> None:
        self._taken: set[str] = set(RESERVED)
        self._known: dict[object, dict[str, str]] = {}

    def claim(self, letter: str) -> str:
        """The letter, or with an index if another quantity has it."""
        found, n = letter, 1
        while found in self._taken:
            n += 1
            found = f"{letter}⁽{str(n).translate(_SUPERSCRIPTS)}⁾"
        self._taken.add(found)
        return found

    def claim_all(self, owner: object, wanted: dict[str, str]) -> dict[str, str]:
        """Letters for an owner's quantities by name, the same at every call."""
        known = self._known.setdefault(owner, {})
        for name, letter in wanted.items():
            if name not in known:
                known[name] = self.claim(letter)
        return {name: known[name] for name in wanted}
