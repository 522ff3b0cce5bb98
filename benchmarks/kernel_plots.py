"""The plots of benchmarks/kernels.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

PASSES = ("forward", "dX", "dW")


def by_tokens(results: list[dict[str, object]], file: Path) -> None:
    """Plot the share of the ceiling by tokens, uniform routing: a row of plots for each model and GEMM, a column for each pass."""
    rows = list(dict.fromkeys((one["model"], one["gemm"]) for one in results))
    colors = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(one["name"] for one in results))}
    figure, axes = plt.subplots(len(rows), 3, figsize=(13, 3.2 * len(rows)), squeeze=False, sharex=True)
    for (model, gemm), line in zip(rows, axes, strict=True):
        for which, axis in zip(PASSES, line, strict=True):
            here = [one for one in results if (one["model"], one["gemm"], one["pass"], one["routing"]) == (model, gemm, which, "uniform")]
            for name in dict.fromkeys(one["name"] for one in here):
                shares = {
                    int(str(one["tokens"])): float(str(one["tflops"])) / float(str(one["ceiling"])) for one in here if one["name"] == name
                }
                points = sorted(shares.items())
                axis.plot(*zip(*points, strict=True), marker="o", label=str(name), color=colors[name])
            ticks = sorted({int(str(one["tokens"])) for one in here})
            axis.set(title=f"{model}, {gemm}: {which}", xscale="log", ylim=(0, 1.12), xlabel="tokens", ylabel="share of the ceiling")
            axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
            axis.set_xticks([], minor=True)
            axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def rooflines(results: list[dict[str, object]], tflops: float, terabytes: float, file: Path) -> None:
    """Plot for each pass the TFLOP/s of every shape by its operations per byte, under the peak rates of compute and memory."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True)
    names = list(dict.fromkeys(one["name"] for one in results))
    intensities = [float(str(one["intensity"])) for one in results]
    roof = [min(intensities) / 1.3, tflops / terabytes, max(intensities) * 1.3]
    for which, axis in zip(PASSES, axes, strict=True):
        axis.plot(roof, [min(tflops, terabytes * each) for each in roof], color="black", linewidth=1)
        for i, name in enumerate(names):
            here = [one for one in results if (one["name"], one["pass"]) == (name, which)]
            at, speeds = ([float(str(one[key])) for one in here] for key in ("intensity", "tflops"))
            shifted = [each * 1.04 ** (i - len(names) / 2) for each in at]  # side by side, since all have the same shapes
            axis.scatter(shifted, speeds, s=14, label=str(name), color=f"C{i}", alpha=0.8)
        axis.set(title=which, xscale="log", yscale="log", xlabel="operations for each byte")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("TFLOP/s")
    axes[0].legend(title=f"under {tflops:.0f} TFLOP/s, {terabytes:.2f} TB/s")
    figure.tight_layout()
    figure.savefig(file, dpi=150)
