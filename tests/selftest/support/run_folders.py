"""Run folders as a long run leaves them, made up: the same for the same numbers, with every kind of event in them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

BEGAN = 1_900_000_000.0
TARGETS = {
    "triton": ("grouped_gemm", ("any", "exact", "rounding", "tile edge", "skewed", "permuted", "tail", "far", "large")),
    "triton_experts": ("experts", ("any experts", "skewed experts", "large experts")),
    "moefuzz.harness.targets.blocks:triton_block": ("moe_block", ("any block", "routed block", "released block")),
}
TENSORS = {
    "grouped_gemm": ("Y", "dX", "dW"),
    "experts": ("output", "X_grad", "gate_up_proj_grad", "down_proj_grad"),
    "moe_block": ("router_logits", "output", "gate_grad", "up_proj_grad"),
}
LABELS = {
    "experts": ("1", "2", "3-4", "5-8", "9-16", "17-33"),
    "topk": ("1", "2", "3-4", "5-8"),
    "loads": ("one takes all", "even", "power law", "some empty", "fewer rows than experts"),
    "M": ("multiple of the tile", "one over", "one under", "below a tile", "other"),
    "N": ("multiple of the tile", "one over", "one under", "below a tile", "other"),
    "K": ("multiple of the tile", "one over", "below a tile", "other"),
    "dtype": ("float32", "bfloat16"),
    "permute": ("none", "x", "y"),
    "config": ("16x16x16", "32x16x64", "64x64x64", "128x128x64 aligned", "the target's own"),
    "data": ("integers", "signs", "normal", "wide", "cancelling", "zeros"),
}
CASE = "GroupedGemmCase(m_sizes=(3, 0, {0}), N=17, K={0}, dtype='bfloat16', permute='x', topk=2)"
FAILURES: tuple[tuple[list[str | None], str, str | None, list[str]], ...] = (
    (["triton", "WrongValue", "dW", "backward"], "report", "43ef52a5", ["K > 16", "dtype is 'bfloat16'", "an expert without rows"]),
    (["triton", "WrongValue", "dW", "backward"], "same", "43ef52a5", []),
    (["triton_experts", "Crash", None, None], "report", "0badcafe", ["topk > 1"]),
    (["triton", "NonFinite", "Y", "forward"], "gone", None, []),
    (["triton", "Raised OutOfResources", None, None], "known", None, []),
    (
        ["moefuzz.harness.targets.blocks:triton_block", "BrokenRelation", "output", "forward"],
        "report",
        "5eed1e55",
        ["relation 'experts permuted'"],
    ),
)


def started(at: float, worker: str = "node1-0", **fields: Any) -> dict[str, Any]:
    return {"at": at, "worker": worker, "kind": "started", "host": "node1", "pid": 7, "device": "H100", "gpu": None, **fields}


def turn(at: float, worker: str = "node1-0", **fields: Any) -> dict[str, Any]:
    usual = {"target": "triton", "level": "grouped_gemm", "regime": "any", "seconds": 10.0, "examples": 100}
    return {"at": at, "worker": worker, "kind": "turn", **usual, **fields}


def found(at: float, worker: str = "node1-0", of: int = 0, **fields: Any) -> dict[str, Any]:
    said = {"regime": "any", "case": CASE.format(40), "finding": "dW is wrong"}
    return {"at": at, "worker": worker, "kind": "found", "bucket": FAILURES[of][0], **said, **fields}


def reduced(at: float, worker: str = "node1-0", of: int = 0, **fields: Any) -> dict[str, Any]:
    bucket, outcome, report, needs = FAILURES[of]
    failure = " of ".join(filter(None, bucket[1:3]))
    said = {"outcome": outcome, "report": report, "case": CASE.format(17), "finding": "dW is wrong", "failure": failure, "needs": needs}
    return {"at": at, "worker": worker, "kind": "reduced", "bucket": bucket, **said, "seconds": 30.0, **fields}


def write_run(run: Path, *events: dict[str, Any], **said: Any) -> Path:
    """A run folder with these events, each in its worker's file."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "events").mkdir(exist_ok=True)
    usual = {"format": 1, "command": "moefuzz fuzz --hours 8 --gpus all", "targets": list(TARGETS), "seconds": 28_800.0, "starts": [BEGAN]}
    versions = "Python 3.12.3, torch 2.11.0+cu128, triton 3.6.0, transformers 5.17.0, hypothesis 6.170.15"
    (run / "run.json").write_text(json.dumps({**usual, "versions": versions, "device": "NVIDIA H100 80GB HBM3", **said}))
    for event in events:
        with (run / "events" / f"{event['worker']}.ndjson").open("a") as file:
            file.write(json.dumps(event) + "\n")
    return run


def write_night(run: Path, *, hours: float = 8.0, workers: int = 8, step: float = 60.0, host: str = "node1") -> Path:
    """A night of several workers: five kinds of failure, a worker that dies, one that is taken out."""
    dice = random.Random(f"{host} {workers}")  # noqa: S311 (dice)
    events = [started(BEGAN + i / 10, f"{host}-{i}", host=host, gpu=f"GPU-{i:08x}", seconds=hours * 3600) for i in range(workers)]
    turns = [(target, level, regime) for target, (level, regimes) in TARGETS.items() for regime in regimes if regime != "far"]
    for number in range(int(hours * 3600 / step)):
        for i in range(workers):
            at = BEGAN + (number + 1) * step + i * dice.random()
            if i == 3 and at > BEGAN + hours * 2_700:
                continue
            events.append(_turn_of_the_night(dice, at, f"{host}-{i}", turns[(number + i) % len(turns)], step))
            memory = 2.2e9 + 3e8 * math.sin(number / 9 + i) + (number * step * 6e4 if i == 5 else 0)
            events.append({"at": at, "worker": f"{host}-{i}", "kind": "resources", "rss": int(memory), "device_used": int(9e9 + memory)})
    for of in range(len(FAILURES)):
        at = BEGAN + hours * 3600 * (0.002 + 0.11 * of * of / 4)
        worker = f"{host}-{of % workers}"
        events += [found(at, worker, of), reduced(at + 95, worker, of)]
    end = BEGAN + hours * 3600 + 20
    events.append(found(end - 60, f"{host}-0", of=3, bucket=["triton", "Hang", None, None], finding="had not returned after 60 s"))
    events += [{"at": end, "worker": f"{host}-{i}", "kind": "ended", "why": "time is up"} for i in range(workers) if i != 3]
    told: list[tuple[float, str, dict[str, Any]]] = [
        (hours * 2_000, "died", {"of": f"{host}-3", "status": -9, "restarts": 1}),
        (hours * 2_690, "died", {"of": f"{host}-3", "status": 1, "restarts": 2}),
        (hours * 2_701, "out", {"of": f"{host}-3", "gpu": "GPU-00000003", "why": "an error that stays, three times: CUDA error 719"}),
        (hours * 3_600 + 21, "ended", {"why": "time is up"}),
    ]
    events += [{"at": BEGAN + at, "worker": "supervisor", "kind": kind, **fields} for at, kind, fields in told]
    regimes = {target: list(regimes) for target, (_, regimes) in TARGETS.items()}
    write_run(run, *sorted(events, key=lambda event: event["at"]), seconds=hours * 3600, regimes=regimes)
    for _, outcome, report, _ in FAILURES:
        if outcome == "report":
            (run / "reports" / str(report)).mkdir(parents=True)
            (run / "reports" / str(report) / "report.md").write_text("# A report\n")
    return run


def _turn_of_the_night(dice: random.Random, at: float, worker: str, of: tuple[str, str, str], step: float) -> dict[str, Any]:
    target, level, regime = of
    examples = int(step * dice.uniform(15, 25))
    covered: dict[str, dict[str, int]] = {}
    for name, labels in LABELS.items():
        for label in dice.choices(labels, [1 / (i + 1) for i in range(len(labels))], k=4):
            covered.setdefault(name, {})[label] = covered.get(name, {}).get(label, 0) + examples // 4
    shares = {tensor: dice.random() ** 2 * (0.25 if level == "grouped_gemm" else 1.0) for tensor in TENSORS[level]}
    return turn(
        at, worker, target=target, level=level, regime=regime, seconds=step - 1, examples=examples, compiles=dice.randrange(9) // 7,
        failing=3 * (target == "triton"), passed_by=2 * (target == "triton"), known=int(regime == "large"), refused=dice.randrange(3),
        no_room=dice.randrange(2) * int(regime == "large"), fresh=dice.randrange(4), shares=shares, covered=covered,
        slowest=[[dice.random() ** 8 * 20, CASE.format(dice.randrange(9, 200))]], interesting=[],
    )  # fmt: skip
