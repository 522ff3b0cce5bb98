"""Mutants of moefuzz's own kernels and of the host code around them; each has one change, of a kind that happens by mistake.

A mutant is a span of source text and its replacement, found in the syntax tree. Its name describes the change, and stays valid when the
rest of the file changes: ``file function: operator: old -> new``, with #2 for the second of its kind.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass

from moefuzz.harness.targets import Target

from .kernel_copies import SOURCE, changed_kernels
from .node_changes import changes

PLACES = {
    "rows.py": ("_grouped_gemm_rows_kernel", "grouped_gemm_rows"),
    "dw.py": ("_grouped_gemm_dw_kernel", "grouped_gemm_dw"),
    "rows_tma.py": ("_tile", "_grouped_gemm_rows_tma_kernel", "grouped_gemm_rows_tma"),
    "dw_tma.py": ("_grouped_gemm_dw_tma_kernel", "grouped_gemm_dw_tma"),
    "tma_boxes.py": ("load_ragged", "_strides_in_range"),
    "tile_schedule.py": ("tile_bound", "_tile_schedule_kernel", "tile_schedule"),
    "grouped_gemm.py": ("tokens_in", "x_divisor", "forward", "backward", "_rows", "_dx", "_dw"),
    "sorted_rows.py": ("__init__", "by_expert", "schedule", "row_ends", "row_of_slot"),
    "rank_slots.py": ("_rank_kernel", "rank_slots"),
    "gather_rows.py": ("_gathered_rows_kernel", "gathered_rows"),
    "combine_rows.py": (
        "_sum_kernel",
        "_weighted_sum_grad_kernel",
        "_rows_of_slots_kernel",
        "forward",
        "backward",
        "_summed",
        "rows_of_slots",
    ),
    "gated_activation.py": ("_sigmoid", "_tile", "_gated_kernel", "_gated_grad_kernel", "forward", "backward"),
    "elementwise.py": ("tile_of", "is_aligned"),
    "experts.py": ("_experts",),
}
"""The functions that are mutated. Checks of arguments are not, since no valid case reaches them."""
_LEVELS = {
    "combine_rows.py": ("experts", "grouped_gemm"),
    "elementwise.py": ("experts", "grouped_gemm"),
    "sorted_rows.py": ("experts", "grouped_gemm"),
    "rank_slots.py": ("experts",),
    "gather_rows.py": ("experts", "grouped_gemm"),
    "gated_activation.py": ("experts",),
    "experts.py": ("experts",),
}
"""The levels of the targets that test a file's mutants, if not the op alone."""


@dataclass(frozen=True)
class Mutant:
    """A change: text [start, stop) of a file of the kernels is replaced by ``new``."""

    name: str
    operator: str
    file: str
    start: int
    stop: int
    new: str

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels of the targets that test it."""
        return _LEVELS.get(self.file, ("grouped_gemm",))

    def target(self, level: str = "") -> Target:
        """Return moefuzz's own op or experts with this change as a target, by default of the first of its levels."""
        copy = f"mutant_{self.file[:-3]}_{self.start}_{abs(hash(self.name))}"
        if (level or self.levels[0]) == "experts":
            return Target(self.name, changed_kernels(copy, self.edited, "experts").triton_experts, level="experts")
        module = changed_kernels(copy, self.edited)
        return Target(self.name, module.grouped_gemm, tail_rows="zero", capturable=True)

    def edited(self, file: str, text: str) -> str:
        """Return the text of a file, with the change if it is the mutant's file."""
        return text[: self.start] + self.new + text[self.stop :] if file == self.file else text


def mutants() -> list[Mutant]:
    """Return all mutants, in the order of the source."""
    found, seen, spans = [], Counter[str](), set[tuple[str, int, int, str]]()
    for file, functions in PLACES.items():
        text = next(SOURCE.rglob(file)).read_text()
        lines = [0]
        for line in text.splitlines(keepends=True):
            lines.append(lines[-1] + len(line))
        for function in ast.walk(ast.parse(text)):
            if not isinstance(function, ast.FunctionDef) or function.name not in functions:
                continue
            for operator, node, new in changes(function, text):
                start, stop = (lines[line - 1] + column for line, column in _span(node))
                if (file, start, stop, new) in spans:
                    continue  # two operators with the same result
                spans.add((file, start, stop, new))
                old = " ".join(text[start:stop].split())
                name = f"{file} {function.name}: {operator}: {old} -> {' '.join(new.split())}"
                seen[name] += 1
                found.append(Mutant(name + (f" #{seen[name]}" if seen[name] > 1 else ""), operator, file, start, stop, new))
    return sorted(found, key=lambda mutant: (mutant.file, mutant.start))


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
