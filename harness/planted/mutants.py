"""Mutants of our own kernels and of the host code around them: one change each, of a kind that authors of kernels make by mistake.

A mutant is a span of source text and what stands there instead, found in the syntax tree, so that its name says what it does and outlives
other changes of the file: ``file function: operator: old -> new``, with #2 for the second of its kind.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from moefuzz.harness.targets import Target

from .kernel_copies import SOURCE, changed_kernels

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
"""The functions that are mutated. Checks of arguments are not: no valid case meets them."""
_LEVELS = {
    "combine_rows.py": ("experts", "grouped_gemm"),
    "elementwise.py": ("experts", "grouped_gemm"),
    "sorted_rows.py": ("experts", "grouped_gemm"),
    "rank_slots.py": ("experts",),
    "gather_rows.py": ("experts", "grouped_gemm"),
    "gated_activation.py": ("experts",),
    "experts.py": ("experts",),
}
"""Of the targets that a file's mutants are looked for in, if not in the op alone."""

_EXCHANGED = [
    ("stride_xm", "stride_xk"), ("stride_wn", "stride_wk"), ("stride_ym", "stride_yn"), ("stride_dym", "stride_dyn"), ("N", "K"),
    ("BLOCK_N", "BLOCK_K"), ("BLOCK_M", "BLOCK_N"), ("rn", "rk"), ("mask_n", "mask_k"), ("x_rows", "y_rows"), ("x_rows", "dy_rows"),
    ("mask_m", "mask_n"), ("row_shift_ptr", "row_ends_ptr"), ("start", "end"), ("tiles", "sizes"), ("row_ends", "tile_ends"),
]  # fmt: skip
_OTHERS = {a: b for pair in _EXCHANGED for a, b in (pair, pair[::-1])}
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&"}
_CALLS = {"new_zeros": "new_empty", "zeros": "empty"}
_DROPPED = ("transpose", "contiguous", "to", "sum", "view")


@dataclass(frozen=True)
class Mutant:
    """Text [start, stop) of a file of the kernels becomes ``new``."""

    name: str
    operator: str
    file: str
    start: int
    stop: int
    new: str

    @property
    def levels(self) -> tuple[str, ...]:
        """Of the targets that it is looked for in."""
        return _LEVELS.get(self.file, ("grouped_gemm",))

    def target(self, level: str = "") -> Target:
        """Our own op or experts with this change, by default of the first of its levels."""
        copy = f"mutant_{self.file[:-3]}_{self.start}_{abs(hash(self.name))}"
        if (level or self.levels[0]) == "experts":
            return Target(self.name, changed_kernels(copy, self.edited, "experts").triton_experts, level="experts")
        module = changed_kernels(copy, self.edited)
        return Target(self.name, module.grouped_gemm, tail_rows="zero", capturable=True)

    def edited(self, file: str, text: str) -> str:
        """The text of a file with the change, if it is the mutant's."""
        return text[: self.start] + self.new + text[self.stop :] if file == self.file else text


def mutants() -> list[Mutant]:
    """All mutants, in the order of the source."""
    found, seen, spans = [], Counter[str](), set[tuple[str, int, int, str]]()
    for file, functions in PLACES.items():
        text = next(SOURCE.rglob(file)).read_text()
        lines = [0]
        for line in text.splitlines(keepends=True):
            lines.append(lines[-1] + len(line))
        for function in ast.walk(ast.parse(text)):
            if not isinstance(function, ast.FunctionDef) or function.name not in functions:
                continue
            for operator, node, new in _changes(function, text):
                start, stop = (lines[line - 1] + column for line, column in _span(node))
                if (file, start, stop, new) in spans:
                    continue  # two operators that come to the same
                spans.add((file, start, stop, new))
                old = " ".join(text[start:stop].split())
                name = f"{file} {function.name}: {operator}: {old} -> {' '.join(new.split())}"
                seen[name] += 1
                found.append(Mutant(name + (f" #{seen[name]}" if seen[name] > 1 else ""), operator, file, start, stop, new))
    return sorted(found, key=lambda mutant: (mutant.file, mutant.start))


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]


def _changes(function: ast.FunctionDef, text: str) -> Iterator[tuple[str, ast.AST, str]]:
    """(operator, the node that is replaced, the text that replaces it)."""

    def source(node: ast.AST) -> str:
        return ast.get_source_segment(text, node) or ""

    kernel = bool(function.decorator_list) and "jit" in source(function.decorator_list[0])
    for statement in function.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # the docstring
        hints = {id(part) for call in ast.walk(statement) if source(call).startswith("tl.multiple_of(") for part in ast.walk(call)}
        for node in ast.walk(statement):
            match node:
                case ast.Constant(value=16) if id(node) in hints:
                    pass  # a hint to the compiler, which the interpreter ignores
                case ast.Compare(left=left, ops=[ast.Lt()], comparators=[right]):
                    yield "compare", node, f"{source(left)} <= {source(right)}"
                    yield "no mask", node, f"{source(left)} < {source(right)} + 1000" if kernel else f"{source(left)} >= {source(right)}"
                case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                    yield "left operand", node, source(left)
                    if isinstance(op, ast.BitAnd):
                        yield "right operand", node, source(right)
                    if isinstance(op, ast.Add | ast.Sub):
                        other = "-" if isinstance(op, ast.Add) else "+"
                        yield "sign", node, f"{source(left)} {other} {source(right)}"
                case ast.UnaryOp(
                    op=ast.USub(), operand=ast.BinOp(left=ast.UnaryOp(op=ast.USub(), operand=n), op=ast.FloorDiv(), right=block)
                ):
                    yield "floor", node, f"{source(n)} // {source(block)}"
                case ast.Call(func=ast.Name(id="range"), args=[start, stop, step]):
                    yield "last step dropped", stop, f"{source(stop)} - {source(step)}"
                    yield "first step dropped", start, f"{source(start)} + {source(step)}"
                case ast.Call(func=ast.Attribute(value=value, attr=attribute)):
                    yield from _call_changes(node, value, attribute, source)
                case ast.Name(id=name, ctx=ast.Load()) if kernel and name in _OTHERS:
                    yield "exchanged", node, _OTHERS[name]
                case ast.Attribute(value=ast.Name(id="tl"), attr="int64"):
                    yield "int32 offset", node, "tl.int32"
                case ast.Attribute(value=ast.Name(id="tl"), attr="float32"):
                    yield "accumulator", node, "tl.bfloat16"
                case ast.Constant(value=bool(value)):
                    yield "flag", node, str(not value)
                case ast.Constant(value=int(value)):
                    yield "constant", node, str(value + 1)
                    if value:
                        yield "constant", node, str(value - 1)
                case ast.If(test=test):
                    yield "condition", test, f"not ({source(test)})"
                case ast.IfExp(body=body, orelse=orelse):
                    yield "condition", node, source(body)
                    yield "condition", node, source(orelse)
                case ast.AugAssign() | ast.Return(value=None):
                    yield "statement dropped", node, "pass"
                case ast.Expr(value=ast.Call()):
                    yield "statement dropped", node, "pass"


def _call_changes(node: ast.Call, value: ast.expr, attribute: str, text: Callable[[ast.AST], str]) -> Iterator[tuple[str, ast.AST, str]]:
    if attribute in ("load", "store"):
        keywords = {keyword.arg: keyword for keyword in node.keywords}
        arguments = ", ".join(text(argument) for argument in node.args)
        if "mask" in keywords:
            yield "mask dropped", node, f"tl.{attribute}({arguments})"
        if "other" in keywords:
            yield "other dropped", node, f"tl.{attribute}({arguments}, mask={text(keywords['mask'].value)})"
            yield "other is one", keywords["other"].value, "1"
    elif attribute == "dot":
        yield "accumulator forgotten", node, f'tl.dot({", ".join(text(argument) for argument in node.args[:2])}, input_precision="ieee")'
        yield "operands rounded", node.args[0], f"{text(node.args[0])}.to(tl.bfloat16).to({text(node.args[0])}.dtype)"
    elif attribute in _CALLS:
        yield "unwritten", node, text(node).replace(attribute, _CALLS[attribute], 1)
    elif attribute == "cumsum":
        yield "counts as offsets", node, text(node.args[0] if text(value) == "tl" else value)
    elif attribute in _DROPPED and text(value) != "tl":
        yield "call dropped", node, text(value)
