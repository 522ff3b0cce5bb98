"""The plots of a run's page: inline SVG that uses the colours of the page and keeps text as text."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from moefuzz.harness.run_log.state import RunState
from moefuzz.harness.run_log.time_series import Series

_INK, _RULE, _FAINT = "#0000e1", "#0000e2", "#0000e3"
_LINES = ("#0000f1", "#0000f2", "#0000f3", "#0000f4", "#0000f5")
_IN_CSS = {_INK: "currentColor", _RULE: "var(--rule)", _FAINT: "var(--faint)"} | {
    line: f"var(--line-{number})" for number, line in enumerate(_LINES, 1)
}
"""Placeholder colours, by the CSS variable of the page that replaces each; the page has other values in dark mode."""
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_STYLE: dict[Any, Any] = {  # the keys' own type in matplotlib is a list of 300 names
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
}
_UNITS = ((2 * 86_400, 86_400, "days"), (2 * 3_600, 3_600, "hours"), (180, 60, "minutes"), (0, 1, "seconds"))


def examples_plot(state: RunState) -> str:
    """Return a plot of the total number of examples over time."""
    unit, name = _unit(state.elapsed)
    points = state.examples_over_time.total()
    with rc_context(_STYLE):
        figure, axes = _figure(name, state.elapsed / unit)
        at, total = [time / unit for time, _ in points], [count for _, count in points]
        axes.plot(at, total, color=_LINES[0], linewidth=1.6)
        axes.fill_between(at, total, color=_LINES[0], alpha=0.15, linewidth=0)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylim(bottom=0)
        return _svg(figure, "examples")


def failures_plot(state: RunState) -> str:
    """Return a plot of the number of distinct failures over time; "" if there is none."""
    unit, name = _unit(state.elapsed)
    found = [at / unit for at in state.failures.over_time()]
    if not found:
        return ""
    with rc_context(_STYLE):
        figure, axes = _figure(name, state.elapsed / unit)
        axes.step(
            [0, *found, state.elapsed / unit], [0, *range(1, len(found) + 1), len(found)], where="post", color=_LINES[1], linewidth=1.6
        )
        if len(found) <= 50:
            axes.plot(found, range(1, len(found) + 1), "o", color=_LINES[1], markersize=4, clip_on=False)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylim(0, len(found) * 1.15)
        return _svg(figure, "failures")


def memory_plot(state: RunState, *, on_device: bool) -> str:
    """Return a plot of each worker's memory over time, with names for the largest few; "" if nothing was measured."""
    used = {name: worker.device_used if on_device else worker.rss for name, worker in state.workers.items()}
    named = sorted(((name, series) for name, series in used.items() if series.bins), key=lambda item: -item[1].largest)
    if not named:
        return ""
    unit, axis = _unit(state.elapsed)
    shown = len(_LINES) if len(named) <= len(_LINES) else len(_LINES) - 1
    with rc_context(_STYLE):
        figure, axes = _figure(axis, state.elapsed / unit)
        for _, series in named[shown:]:
            _line(axes, series, unit, color=_FAINT, linewidth=0.8)
        for (name, series), color, dash in zip(named[:shown], _LINES, cycle(_DASHES), strict=False):
            _line(axes, series, unit, color=color, linewidth=1.5, linestyle=dash, label=_plain(name))
        if len(named) > shown:
            axes.plot([], [], color=_FAINT, linewidth=0.8, label=f"{len(named) - shown} more")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda size, _: f"{size:g} GiB")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=2.2, borderaxespad=0, columnspacing=1.2)
        return _svg(figure, "device" if on_device else "memory")


def _line(axes: Axes, series: Series, unit: float, **style: object) -> None:
    points: Sequence[tuple[float, float]] = series.points()
    axes.plot([at / unit for at, _ in points], [size / 2**30 for _, size in points], **style)  # type: ignore[arg-type]


def _unit(elapsed: float) -> tuple[float, str]:
    return next((unit, name) for at_least, unit, name in _UNITS if elapsed >= at_least)


def _figure(xlabel: str, end: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 2.3), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    axes.set_xlim(0, max(end, 1e-3))
    axes.set_xlabel(xlabel, loc="right")
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element of the page: without a fixed size, its ids prefixed with ``name`` to be unique."""
    written = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    return re.sub("|".join(_IN_CSS), lambda color: _IN_CSS[color[0]], svg)


def _plain(name: str) -> str:
    """Return a name in ASCII, since matplotlib warns of other letters, and without a leading _, with which it would leave it out."""
    return name.encode("ascii", "replace").decode().lstrip("_")[:24]
