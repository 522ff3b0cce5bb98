"""``moefuzz describe``: print what a target declares and which cases are drawn for it, without calling it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.contract import contract_of
from moefuzz.harness.base.environment import TARGET_VARIABLE
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import home_of, named_targets

from .options import TARGET, named_target, refuse

if TYPE_CHECKING:
    from hypothesis import strategies as st

    Regimes = Mapping[str, Callable[..., st.SearchStrategy[Any] | None]]

SHOWN, _DRAWN = 12, 25
"""The smallest number of cases that are shown, and how many are drawn in each regime to choose from."""


def describe_command(
    target: Annotated[
        list[str] | None,
        typer.Argument(help="A name that `moefuzz targets` lists, FILE.py:ATTR or PKG.MOD:ATTR.", **TARGET | {"metavar": "[TARGET]..."}),
    ] = None,
) -> None:
    """Print what a target declares, which keywords its signature has, and which cases are drawn for it. The target is not called.

    Exit code 2: the target cannot be used.
    """
    if not target:
        refuse(f"name a target, as mine:target; {TARGET_VARIABLE} and pyproject.toml name none")

    from moefuzz.kernels import triton_interpreter
    from moefuzz.strategies.regimes import REGIMES

    triton_interpreter.repair()  # before a file of kernels is imported
    console = Console()
    for one in [named_target(spec) for spec in dict.fromkeys(target)]:
        described(console, one, REGIMES[one.level])


def described(console: Console, target: Target, regimes: Regimes) -> None:
    """Print a target's declaration, its regimes and relations, and some of their cases."""
    from moefuzz.harness.levels.level import level_of

    drawn = {name: regime(target) for name, regime in regimes.items()}
    related = next((regime for name, regime in regimes.items() if name.startswith("related")), None)
    relations = {name: _sentence(held) for name, held in level_of(target.level).relations.items()}
    left_out = [] if related is None else [name for name in relations if related(target, name) is None]
    console.print(f"[bold]{escape(target.name)}[/]", highlight=False, soft_wrap=True)
    _section(console, "", _declaration(target))
    _section(console, "regimes", {name: _sentence(regimes[name]) for name, cases in drawn.items() if cases is not None})
    _section(console, "relations between two calls", {name: said for name, said in relations.items() if name not in left_out})
    absent = [name for name, cases in drawn.items() if cases is None], left_out
    for kind, names in zip(("regimes", "relations"), absent, strict=True):
        if names:
            console.print(f"no such cases by its declaration: {kind} {', '.join(names)}", highlight=False, soft_wrap=True)
    console.print("\n[bold]cases that are drawn, among others[/]")
    for name, case in examples({name: cases for name, cases in drawn.items() if cases is not None}):
        console.print(f"    {name}: {case!r}", markup=False, highlight=False, soft_wrap=True)


def examples(regimes: Mapping[str, st.SearchStrategy[Any]]) -> Iterator[tuple[str, Case]]:
    """Yield a dozen cases, or one of each regime if there are more regimes, each with its regime; the same in every call."""
    for number, (name, cases) in enumerate(regimes.items()):
        each = max(SHOWN // len(regimes) + (number < SHOWN % len(regimes)), 1)
        met = _drawn_of(cases)
        yield from ((name, case) for case in met[:: -max(len(met) // each, 1)][:each])  # the last one, and others spread evenly


def _drawn_of(cases: st.SearchStrategy[Case]) -> list[Case]:
    from hypothesis import given, settings
    from hypothesis.errors import Unsatisfiable

    from moefuzz.harness.base.hypothesis_profiles import drawn

    met: dict[Case, None] = {}

    @settings(drawn(_DRAWN), derandomize=True)
    @given(cases)
    def draw(case: Case) -> None:
        met[case] = None

    with contextlib.suppress(Unsatisfiable):
        draw()
    return list(met)


def _declaration(target: Target) -> dict[str, str]:
    limits = [f"{name} {_value(value)}" for name, value in target.limits().items()]
    of = home_of(target.name, target) if target.module or target.name in named_targets() else target.function.__module__
    return {
        "level": f"{target.level}, called as f({', '.join(contract_of(target.level).parameters)})",
        "of": of,
        "keywords": ", ".join(sorted(target.keywords)) or "none is read off its signature",
        "declares": ", ".join(target.declared()) or "nothing beyond its level: every case must be right",
        "limits": "; ".join(limits),
        "beyond": "it must raise an exception, or be right" if target.wider() else "nothing: it has no limit",
        "devices": " and ".join(target.devices),
    }


def _section(console: Console, title: str, rows: Mapping[str, str]) -> None:
    """Print names and their texts: side by side in a terminal, one line each elsewhere."""
    if title:
        console.print(f"\n[bold]{title}[/]", highlight=False)
    width = max(map(len, rows), default=0)
    if not console.is_terminal or console.width < 2 * width + 20:
        for name, said in rows.items():
            console.print(f"    {name:<{width}}  {said}", markup=False, highlight=False, soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="cyan")
    for name, said in rows.items():
        grid.add_row(f"    {name}", escape(said))
    console.print(grid, highlight=False)


def _value(limit: object) -> str:
    if isinstance(limit, tuple):
        return ", ".join(limit)
    return {True: "yes", False: "no"}[limit] if isinstance(limit, bool) else str(limit)


def _sentence(function: object) -> str:
    return " ".join((function.__doc__ or "").split("\n\n")[0].split()).replace("``", "")
