"""A failing case looked at once more for its report: every tensor beside its bound, and a picture of the first that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.device import device
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.level import level_of
from moefuzz.harness.numerics.claims import Claim, Compared
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.checked import checked_of
from moefuzz.harness.verdict.isolation import isolation_for
from moefuzz.harness.verdict.judge import claimed

_MOST_PIXELS = 1_000  # along an axis; beyond, each shows the largest of its neighbours


@dataclass(frozen=True)
class TensorError:
    """One tensor of a case's plain call, in the order of computation."""

    tensor: str
    wrong: int  # elements; -1 where shape or dtype is wrong
    total: int
    error: float  # the largest distance from the reference
    share: float  # the largest share of a bound that is needed; infinite where the bound is 0 and the element wrong
    exact: bool  # every order of accumulation gives the same bits


@dataclass(frozen=True)
class Picture:
    """error / bound of a tensor as rows by columns; the entries of a third axis, the experts, stand below each other."""

    tensor: str
    share: np.ndarray  # [rows, columns] float64
    axes: tuple[str, ...]  # of rows and of columns
    experts: tuple[int, ...]  # the rows before which another expert begins
    tiles: tuple[tuple[int, ...], tuple[int, ...]]  # the rows and the columns before which another tile begins


@dataclass(frozen=True)
class Examination:
    """What a report shows of a failing case's plain call."""

    tensors: tuple[TensorError, ...]
    picture: Picture | None


def examine(failure: Failure, target: Target) -> Examination | None:
    """Look at all tensors of a failing case; None where it gave none. Where they stayed in another process it runs again, as cases run."""
    if (checked := checked_of(failure)) is not None:
        return _seen(checked.claims, failure.case)
    isolation = isolation_for(target)
    if isolation is not None:
        return isolation.apart(_examined_by_name, failure.case, target.name)
    return _examined(failure.case, target)


def _examined_by_name(case: Case, spec: str) -> Examination | None:
    from moefuzz.harness.targets.registry import load_target

    return _examined(case, load_target(spec))


def _examined(case: Case, target: Target) -> Examination | None:
    level = level_of(case.level)
    try:
        problem = level.build(case)
        return _seen(claimed(problem, level.run(problem, target, device()), target).claims, case)
    except Exception:  # what it raises is said in the failure
        return None


def _seen(claims: Sequence[Claim], case: Case) -> Examination | None:
    dtype = getattr(torch, case.dtype)
    tensors, picture = [], None
    for claim in claims:
        if not claim.fits(dtype):
            tensors.append(TensorError(claim.tensor, -1, 0, 0.0, 0.0, exact=False))
            continue
        seen = claim.compared(dtype)
        tensors.append(_error_of(claim.tensor, seen))
        if picture is None and seen.wrong.any():
            picture = _picture(claim, seen)
    return Examination(tuple(tensors), picture) if tensors else None


def _error_of(tensor: str, seen: Compared) -> TensorError:
    error, share = (float(values.max(initial=0.0)) for values in (seen.error(), seen.share()))
    return TensorError(tensor, int(seen.wrong.sum()), seen.wrong.size, error, share, exact=not seen.b.any())


def _picture(claim: Claim, seen: Compared) -> Picture:
    share = seen.share()
    if share.ndim == 3:
        sizes: tuple[int, ...] = (share.shape[1],) * share.shape[0]
    else:
        sizes = claim.m_sizes or ()
    borders = tuple(int(row) for row in np.cumsum(sizes)[:-1] if 0 < row < share.size)
    row_block, column_block = claim.blocks[-2:]
    rows = [row for start, size in zip((0, *np.cumsum(sizes)), sizes, strict=False) for row in _tile_edges(row_block, size, int(start))]
    columns = _tile_edges(column_block, share.shape[-1])
    return Picture(claim.tensor, share.reshape(-1, share.shape[-1]), claim.axes[-2:], borders, (tuple(rows), tuple(columns)))


def _tile_edges(block: int | None, size: int, start: int = 0) -> list[int]:
    return [start + edge for edge in range(block, size, block)] if block else []


def draw(picture: Picture, path: Path) -> None:
    """Write a heat map: white at the bound, red and crossed above, blue below; expert borders black, tiles' grey. Raises OSError."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    share = picture.share
    steps = [-(-size // _MOST_PIXELS) for size in share.shape]
    if max(steps) > 1:
        for axis, step in enumerate(steps):
            share = np.maximum.reduceat(share, range(0, share.shape[axis], step), axis)
    rows, columns = picture.share.shape
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        np.clip(share, 1e-2, 1e2), cmap="RdBu_r", norm=LogNorm(1e-2, 1e2), aspect="auto", interpolation="nearest",
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )  # fmt: skip
    wrong = np.argwhere(picture.share > 1)
    if len(wrong) <= 400:  # a share just above 1 is nearly white
        axes.plot(wrong[:, 1], wrong[:, 0], "kx", markersize=4, linewidth=0)
    for row in picture.tiles[0]:
        axes.axhline(row - 0.5, color="0.5", linewidth=0.5, linestyle=":")
    for column in picture.tiles[1]:
        axes.axvline(column - 0.5, color="0.5", linewidth=0.5, linestyle=":")
    for row in picture.experts:
        axes.axhline(row - 0.5, color="black", linewidth=1)
    axes.set_xlabel(picture.axes[1])
    axes.set_ylabel(picture.axes[0] + (", experts below each other" if picture.experts else ""))
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_title(f"{picture.tensor}: error / bound, {len(wrong)} of {picture.share.size} elements wrong", fontsize="medium")
    figure.colorbar(image, ax=axes, label="error / bound; above 1 wrong", extend="both")
    figure.savefig(path, dpi=120)
