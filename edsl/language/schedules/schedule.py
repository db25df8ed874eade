"""A schedule: a form, the value that it scales, and its arguments; and the number that has one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from edsl.errors import EdslError, nearest, shown
from edsl.language.schedules.forms import COMMON, FORMS, SHAPES, Numbers, Span

_SMALL = 1e-9  # the share of the value from which a warmup may begin


class ArgumentError(EdslError):
    """A schedule's argument that is unknown or bad; `argument` is its name, "" for the schedule itself."""

    def __init__(self, message: str, argument: str = "") -> None:
        super().__init__(message)
        self.message, self.argument = message, argument

    def __reduce__(self):
        return ArgumentError, (self.message, self.argument)


@dataclass(frozen=True)
class Schedule:
    """A number as a function of the step k ≥ 1.

    value · k/w for k < w, the warmup, and then value · (floor + (1 − floor) · form); linear with `to` goes from
    the value to that number instead. Behind the last step T the last value stays. In steps are whole numbers;
    a fraction is a share of T.

    Attributes:
        form: a name in `FORMS`.
        value: what is scaled.
        given: the other arguments, all that the form has, by name.

    Raises:
        ArgumentError: for an unknown form or argument, or a bad one.
    """

    form: str
    value: float
    given: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ArgumentError(f"unknown schedule {shown(self.form)}; {nearest(self.form, FORMS, 'schedules')}")
        known = FORMS[self.form].own | COMMON
        for name, _ in self.given:
            if name not in known:
                hint = nearest(name, known, "it has")
                raise ArgumentError(f"{self.form}: unknown argument {shown(name)}; {hint}", name)
        merged = known | dict(self.given)
        object.__setattr__(self, "value", read_finite(self.form, "the value", self.value, "", -math.inf, math.inf))
        object.__setattr__(self, "given", tuple((name, self._read(name, merged[name])) for name in known))
        if merged.get("to") is not None and merged["floor"]:
            raise ArgumentError("linear: to= is where it ends, so it takes no floor=", "floor")
        self._check_order(merged["steps"])

    def _read(self, name: str, value: Any) -> Any:
        form = self.form
        if name in ("to", "steps") and value is None:
            return None
        if name == "shape":
            if value not in SHAPES:
                raise ArgumentError(f"{form}: shape must be one of {', '.join(SHAPES)}, got {shown(value)}", name)
            return value
        if name == "at":
            places = value if isinstance(value, tuple) else (value,)
            if not places:
                raise ArgumentError(f"{form}: at needs at least one step", name)
            return tuple(_steps(form, name, place, 0) for place in places)
        if name in ("warmup", "steps", "decay"):
            return _steps(form, name, value, 0 if name == "warmup" else 1)
        low, high = {"floor": (0, 1), "by": (0, math.inf), "exponent": (0, 100)}.get(name, (-math.inf, math.inf))
        return read_finite(form, name, value, name, low, high)

    def _check_order(self, total: int | float | None) -> None:
        """Raises ArgumentError where a warmup or a decay does not fit in the steps, as far as these are known."""
        warmup = self.arguments["warmup"]
        decay = self.arguments.get("decay", 0)
        known = isinstance(total, int)
        spans = [part for part in (warmup, decay) if known or isinstance(part, float)]
        whole = total if known else 1.0
        taken = sum(part * whole if isinstance(part, float) and known else part for part in spans)
        if whole is not None and (FORMS[self.form].ends or taken != warmup) and spans and taken > whole:
            end = f"{total} steps" if known else "all steps"
            long = " and ".join(name for name, length in (("warmup", warmup), ("decay", decay)) if length)
            are = "are" if warmup and decay else "is"
            raise ArgumentError(f"{self}: its {long} {are} longer than {end}", "warmup" if warmup else "decay")
        if FORMS[self.form].ends and known and "decay" not in self.arguments and taken >= total:  # pyright: ignore
            raise ArgumentError(f"{self}: its warmup must end before its {total} steps do", "warmup")

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """All arguments but the value, by name."""
        return dict(self.given)

    @cached_property
    def needs_total(self) -> bool:
        """Whether it needs to know how many steps there are: T."""
        given = self.arguments
        lengths = [given["warmup"], given.get("decay", 0), *given.get("at", ())]
        own = isinstance(given["steps"], int)
        shares = isinstance(given["steps"], float) or any(isinstance(length, float) for length in lengths)
        return not own and (FORMS[self.form].ends or shares)

    def check_total(self, total: int | None, key: str) -> None:
        """Raises EdslError where T is needed and not known, or too small."""
        if total is None and self.needs_total:
            raise EdslError(
                f"{key}={self} needs the number of steps: give edsl.compile(…, total_steps=10_000), "
                "or steps=10_000 in the schedule"
            )
        steps = self.arguments["steps"]
        if total is not None and not isinstance(steps, int):
            try:
                self._check_order(total if steps is None else max(1, int(steps * total)))
            except ArgumentError as reason:
                raise EdslError(f"{key}={reason.message}; give more steps") from None

    def with_value(self, value: float) -> Schedule:
        """The same schedule of another value."""
        return replace(self, value=value)

    def times(self, factor: float) -> Schedule:
        """The same schedule of numbers that are so many times as large."""
        given = tuple((name, v * factor if name == "to" and v is not None else v) for name, v in self.given)
        return replace(self, value=self.value * factor, given=given)

    def formula(self, k: Any, total: Any, at: Any) -> Any:
        """The number at step k of T, in the arithmetic of `at`."""
        return self._number(Span(k, *self._lengths(total)), at)

    def _lengths(self, total: Any) -> tuple[Any, ...]:
        """In steps: the warmup, all, the decay, and the milestones."""

        def steps(length: Any) -> Any:
            return length * end if isinstance(length, float) else length

        given, end = self.arguments, total
        if given["steps"] is not None:
            end = steps(given["steps"])
        return steps(given["warmup"]), end, steps(given.get("decay", 0)), tuple(map(steps, given.get("at", ())))

    def _number(self, span: Span, at: Any) -> Any:
        given, value = self.arguments, self.value
        share = FORMS[self.form].share(span, given, at)
        floor, to = given["floor"], given.get("to")
        number = value * (floor + (1 - floor) * share) if to is None else to + (value - to) * share
        return at.where(span.k < span.begin, value * span.k / span.begin, number) if given["warmup"] else number

    def at(self, k: int, total: int | None = None) -> float:
        """The number at step k of T.

        Example:
            >>> from edsl.language.schedules.schedule import Schedule
            >>> [Schedule("linear", 1.0).at(k, total=4) for k in (1, 2, 4, 9)]
            [0.75, 0.5, 0.0, 0.0]
        """
        known = self.__dict__.get("_known")
        if known is None or known[0] != total:  # an optimizer asks at every step
            known = self.__dict__["_known"] = (total, self._lengths(total))
        return float(self._number(Span(k, *known[1]), Numbers))

    @property
    def extremes(self) -> tuple[float, ...]:
        """Numbers between which all of its numbers lie, itself or arbitrarily near: its knots."""
        given, value = self.arguments, self.value
        found = [value]
        if given["warmup"]:
            warmup = given["warmup"]
            found.append(value / warmup if isinstance(warmup, int) else value * _SMALL)
        if given.get("to") is not None:
            return (*found, given["to"])
        if self.form in ("linear", "cosine", "wsd"):
            found.append(value * given["floor"])
        elif self.form in ("power", "inverse_sqrt"):
            found.append(value * max(given["floor"], _SMALL if given.get("exponent", 0.5) else 1.0))
        elif self.form == "step":
            shares = (given["by"] ** count for count in range(1, len(given["at"]) + 1))
            found += [value * (given["floor"] + (1 - given["floor"]) * share) for share in shares]
        return tuple(found)

    def __str__(self) -> str:
        defaults = FORMS[self.form].own | COMMON
        others = [f"{name}={plain(value)}" for name, value in self.given if value != defaults[name]]
        return f"{self.form}({', '.join([plain(self.value), *others])})"


class Scheduled(float):
    """A hyper-parameter's value with the schedule that it follows; as a float it is the value."""

    schedule: Schedule

    def __new__(cls, schedule: Schedule) -> Scheduled:
        made = super().__new__(cls, schedule.value)
        made.schedule = schedule
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scheduled) and other.schedule == self.schedule

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.schedule)

    def __repr__(self) -> str:
        return str(self.schedule)

    def __reduce__(self) -> tuple[Any, ...]:
        return Scheduled, (self.schedule,)


def read_finite(form: str, said: str, value: Any, name: str, low: float, high: float) -> float:
    """A finite number between two bounds; raises ArgumentError for anything else, `said` its name in words."""
    try:
        number = float(value) if not isinstance(value, (bool, str)) else math.nan
    except Exception:  # a value of the user's own type may raise anything
        number = math.nan
    if not math.isfinite(number) or not low <= number <= high:
        bounds = "a finite number" if math.isinf(low) else f"a number in [{low:g}, {high:g}]".replace("inf]", "∞)")
        raise ArgumentError(f"{form}: {said} must be {bounds}, got {shown(value)}", name)
    return number + 0.0


def _steps(form: str, name: str, value: Any, low: int) -> int | float:
    """A length in steps, or as a share of all."""
    whole = isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**53
    if not whole and not (isinstance(value, float) and 0 < value < 1):
        least = "a whole number of steps" if low == 0 else "a whole number of steps above 0"
        raise ArgumentError(f"{form}: {name} must be {least} or a share in (0, 1), got {shown(value)}", name)
    return value


def plain(value: Any) -> str:
    """A value as a spec prints it: whole floats without their `.0`, in tuples too, all else by its repr."""
    if isinstance(value, tuple):
        return f"({', '.join(map(plain, value))}{',' if len(value) == 1 else ''})"
    text = repr(value)
    return text[:-2] if isinstance(value, float) and text.endswith(".0") else text
