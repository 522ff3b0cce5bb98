"""A level of another package: ``f(values [n]) -> 2 * values``. Importing this file makes it known; two targets of it stand at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from hypothesis import strategies as st

from moefuzz.harness.base.case import DTYPES, Case
from moefuzz.harness.base.contract import Contract, register
from moefuzz.harness.execution.arena import Arena
from moefuzz.harness.execution.guarded_call import guarded_call
from moefuzz.harness.levels.level import FollowUp, Level, ScriptParts, whole
from moefuzz.harness.numerics import recipes
from moefuzz.harness.numerics.bounds import reals
from moefuzz.harness.numerics.claims import Claim
from moefuzz.harness.targets import Target
from moefuzz.strategies.regimes import REGIMES


@dataclass(frozen=True, repr=False)
class DoublingCase(Case):
    level: ClassVar[str] = "doubling"
    sizes: ClassVar[dict[str, int]] = {"n": 0}
    tiles: ClassVar[dict[str, str]] = {"n": "block_n"}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"relation": ("",), "dtype": DTYPES}
    explained: ClassVar[tuple[str, ...]] = ("dtype", "seed")

    n: int = 1
    dtype: str = "float32"
    seed: int = 0
    relation: str = ""


@dataclass(frozen=True)
class Problem:
    case: DoublingCase
    values: torch.Tensor


def build(case: DoublingCase) -> Problem:
    numbers = recipes.values("integers", case.seed, 0, (case.n,), fp16=True)
    return Problem(case, recipes.tensor(numbers, getattr(torch, case.dtype)))


def run(problem: Problem, target: Target, device: torch.device, *, poison: str = "nan") -> Any:
    arena = Arena({"values": problem.values}, device)
    call = lambda: target.function(arena.tensors["values"])
    return guarded_call(call, problem.case, target, device, poison=poison, arena=arena)


def claims(problem: Problem, result: torch.Tensor, _: Target) -> list[Claim]:
    right = 2 * reals(problem.values)
    return [Claim("doubled", ("entry",), result, (problem.case.n,), right, 0 * right, (None,))]


def script(problem: Problem, _tensor: str | None, _: Target) -> ScriptParts:
    return ScriptParts({"values": problem.values}, (), "doubled", "2 * values.cpu().double()", True, (problem.case.n,), ("values",))


TEMPLATE = """{% extends "script/base.py.jinja" %}
{% block run %}
def run():
    return target(values)
{% endblock %}
{% block returned %}doubled{% endblock %}"""
REPEATED = {"repeated": lambda problem, _: iter([FollowUp(problem, {"doubled": (whole, whole)}, bitwise=True, check_bounds=False)])}

register(
    Contract("doubling", DoublingCase, ("values",), ("values",), {"doubled": "forward"}, limits=("dtypes", "zero_rows")),
    Level(build, run, lambda _, result: {"doubled": result}, claims, REPEATED, script, TEMPLATE),
)
REGIMES["doubling"] = {"any doubling": lambda _: st.builds(DoublingCase, n=st.integers(0, 40), seed=st.integers(0, 99))}
right = Target("toy:right", lambda values: 2 * values, level="doubling")


def forgets_the_third(values: torch.Tensor) -> torch.Tensor:
    return torch.cat([2 * values[:2], values[2:3], 2 * values[3:]])
