"""Mutation operators: the changes of each node of a syntax tree that authors of kernels make by mistake."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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
class _Place:
    """The place of a node: the text of its file, and whether it is in a kernel or in the code that launches it."""

    text: str
    kernel: bool

    def source(self, node: ast.AST) -> str:
        """Return the text of a node."""
        return _segment(self.text, node)


def _segment(text: str, node: Any) -> str:
    """Return the text of a node, as ``ast.get_source_segment`` does, which splits the whole text for each."""
    if getattr(node, "end_lineno", None) is None:
        return ""
    lines = _lines(text)[node.lineno - 1 : node.end_lineno]
    last = lines[-1][: node.end_col_offset]
    whole = b"".join([*lines[:-1], last])
    return whole[node.col_offset :].decode()


@functools.cache
def _lines(text: str) -> list[bytes]:
    return text.encode().splitlines(keepends=True)


Change = tuple[str, ast.AST, str]
"""(operator, the node that is replaced, the text that replaces it)"""


def changes(function: ast.FunctionDef, text: str) -> Iterator[Change]:
    """Yield every change of a function."""
    place = _Place(text, bool(function.decorator_list) and "jit" in _segment(text, function.decorator_list[0]))
    for statement in function.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # the docstring
        hints = {id(part) for call in ast.walk(statement) if place.source(call).startswith("tl.multiple_of(") for part in ast.walk(call)}
        for node in ast.walk(statement):
            is_hint = id(node) in hints and isinstance(node, ast.Constant) and node.value == 16  # ignored by the interpreter
            change = _CHANGES.get(type(node))
            if change is not None and not is_hint:
                yield from change(node, place)


def _changed_comparison(node: ast.Compare, place: _Place) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=[ast.Lt()], comparators=[right]):
            one, other = place.source(left), place.source(right)
            yield "compare", node, f"{one} <= {other}"
            yield "no mask", node, f"{one} < {other} + 1000" if place.kernel else f"{one} >= {other}"


def _changed_operation(node: ast.BinOp, place: _Place) -> Iterator[Change]:
    if type(node.op) not in _OPERATORS:
        return
    left, right = place.source(node.left), place.source(node.right)
    yield "left operand", node, left
    if isinstance(node.op, ast.BitAnd):
        yield "right operand", node, right
    if isinstance(node.op, ast.Add | ast.Sub):
        yield "sign", node, f"{left} {'-' if isinstance(node.op, ast.Add) else '+'} {right}"


def _changed_floor(node: ast.UnaryOp, place: _Place) -> Iterator[Change]:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.BinOp(left=ast.UnaryOp(op=ast.USub(), operand=n), op=ast.FloorDiv(), right=block)):
            yield "floor", node, f"{place.source(n)} // {place.source(block)}"


def _changed_call(node: ast.Call, place: _Place) -> Iterator[Change]:
    match node:
        case ast.Call(func=ast.Name(id="range"), args=[start, stop, step]):
            yield "last step dropped", stop, f"{place.source(stop)} - {place.source(step)}"
            yield "first step dropped", start, f"{place.source(start)} + {place.source(step)}"
        case ast.Call(func=ast.Attribute(value=value, attr=attribute)):
            yield from _call_changes(node, value, attribute, place.source)


def _changed_name(node: ast.Name, place: _Place) -> Iterator[Change]:
    if place.kernel and isinstance(node.ctx, ast.Load) and node.id in _OTHERS:
        yield "exchanged", node, _OTHERS[node.id]


def _changed_type(node: ast.Attribute, _: _Place) -> Iterator[Change]:
    match node:
        case ast.Attribute(value=ast.Name(id="tl"), attr="int64"):
            yield "int32 offset", node, "tl.int32"
        case ast.Attribute(value=ast.Name(id="tl"), attr="float32"):
            yield "accumulator", node, "tl.bfloat16"


def _changed_constant(node: ast.Constant, _: _Place) -> Iterator[Change]:
    match node.value:
        case bool(value):
            yield "flag", node, str(not value)
        case int(value):
            yield "constant", node, str(value + 1)
            if value:
                yield "constant", node, str(value - 1)


def _changed_choice(node: ast.IfExp, place: _Place) -> Iterator[Change]:
    yield "condition", node, place.source(node.body)
    yield "condition", node, place.source(node.orelse)


def _changed_condition(node: ast.If, place: _Place) -> Iterator[Change]:
    yield "condition", node.test, f"not ({place.source(node.test)})"


def _dropped(node: ast.AugAssign | ast.Return | ast.Expr, _: _Place) -> Iterator[Change]:
    match node:
        case ast.AugAssign() | ast.Return(value=None) | ast.Expr(value=ast.Call()):
            yield "statement dropped", node, "pass"


_CHANGES: dict[type[ast.AST], Callable[[Any, _Place], Iterator[Change]]] = {
    ast.Compare: _changed_comparison,
    ast.BinOp: _changed_operation,
    ast.UnaryOp: _changed_floor,
    ast.Call: _changed_call,
    ast.Name: _changed_name,
    ast.Attribute: _changed_type,
    ast.Constant: _changed_constant,
    ast.If: _changed_condition,
    ast.IfExp: _changed_choice,
    ast.AugAssign: _dropped,
    ast.Return: _dropped,
    ast.Expr: _dropped,
}
"""The functions that yield the changes of a node, by the type of the node."""


def _call_changes(node: ast.Call, value: ast.expr, attribute: str, text: Callable[[ast.AST], str]) -> Iterator[Change]:
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
