"""The mathematics of a pipeline, from its own stages. Imports language, stages and plotting; its monitor optim."""

if __name__ != "edsl.theory":
    raise ImportError("import this package as edsl.theory: a second copy of its classes would clash with the first")

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edsl.theory.regret.monitor import RegretMonitor

__all__ = ["RegretMonitor"]


def __getattr__(name: str) -> Any:
    if name == "RegretMonitor":
        from edsl.theory.regret.monitor import RegretMonitor

        return RegretMonitor
    raise AttributeError(f"module 'edsl.theory' has no attribute {name!r}")
