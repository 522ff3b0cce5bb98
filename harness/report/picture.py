"""The picture in a report: the error of each element of a tensor as a share of its bound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moefuzz.harness.numerics.claims import Claim, ElementwiseError

_MOST_PIXELS = 1_000  # along an axis; of a larger tensor each pixel shows the largest of several elements


@dataclass(frozen=True)
class Picture:
    """error / bound of a tensor as rows by columns; with a third axis, the experts, one expert below the other."""

    tensor: str
    share: np.ndarray  # [rows, columns] float64
    axes: tuple[str, ...]  # of rows and of columns
    experts: tuple[int, ...]  # the first row of each expert but the first
    tiles: tuple[tuple[int, ...], tuple[int, ...]]  # the first row or column of each tile but the first


def picture_of(claim: Claim, seen: ElementwiseError) -> Picture:
    """Return the picture of a tensor that is wrong."""
    share = seen.share()
    if share.ndim == 3:
        sizes: tuple[int, ...] = (share.shape[1],) * share.shape[0]
    else:
        sizes = claim.m_sizes or ()
    borders = tuple(int(row) for row in np.cumsum(sizes)[:-1] if 0 < row < share.size)
    row_block, column_block = (claim.blocks if len(claim.blocks) > 1 else (*claim.blocks, None))[-2:]
    rows = [row for start, size in zip((0, *np.cumsum(sizes)), sizes, strict=False) for row in _tile_edges(row_block, size, int(start))]
    share = share.reshape(-1, share.shape[-1] if share.ndim > 1 else 1)
    columns = _tile_edges(column_block, share.shape[1])
    axes = claim.axes[-2:] if len(claim.axes) > 1 else (*claim.axes, "")
    return Picture(claim.tensor, share, axes, borders, (tuple(rows), tuple(columns)))


def _tile_edges(block: int | None, size: int, start: int = 0) -> list[int]:
    return [start + edge for edge in range(block, size, block)] if block else []


def draw(picture: Picture, path: Path) -> None:
    """Write a heat map: white at the bound, red and crossed above, blue below; borders of experts black, of tiles grey. Raises OSError."""
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
