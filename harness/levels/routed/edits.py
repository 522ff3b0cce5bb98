"""Choices of an expert or a token of which most of a problem is independent."""

from __future__ import annotations

from typing import Protocol

import torch

from moefuzz.harness.levels.edits import drawn_permutation

from .case import RoutedCase


class RoutedProblem(Protocol):
    """A problem of tokens and a routing."""

    @property
    def case(self) -> RoutedCase: ...


def foreign_expert(problem: RoutedProblem) -> torch.Tensor:
    """Return, as [1], an expert that not every token chose, if there is one."""
    case = problem.case
    order = drawn_permutation(problem, case.E).tolist()
    return torch.tensor([next((e for e in order if case.loads[e] < case.T), order[0])])


def foreign_token(problem: RoutedProblem) -> torch.Tensor:
    """Return, as [1], the first token (with which a wrong kernel may pad), the last one, or a random one."""
    T = problem.case.T
    return torch.tensor([0, T - 1, int(drawn_permutation(problem, T)[0])][problem.case.seed % 3]).reshape(1)
