"""The shortest pipeline around each registered stage."""

from __future__ import annotations

from edsl.language.registry.lookup import stage_class


def pipeline_with(name: str) -> str:
    cls = stage_class(name)
    stage = cls.example or name
    return {
        "estimator": f"{stage} | sgd",
        "adaptor": f"grad | {stage} | sgd",
        "base update": stage,
        "wrapper": f"sgd(lr=0.01) | {stage}",
    }[cls.kind]
