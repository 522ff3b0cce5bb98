"""Which lines, branches and masks of Triton kernels a run reached: a mask that was never false guards nothing that was tried."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from rich import box
from rich.table import Table

from moefuzz.kernels import interpreter
from moefuzz.kernels.interpreter_events import Access, Watcher, is_inside, watchers
from moefuzz.kernels.interpreter_launches import Launch

MASKED_FROM = {"load": 2, "store": 3}  # arguments of a call that has a mask though it names none


@dataclass(eq=False)
class Reached:
    """What was reached of one function."""

    code: CodeType
    arcs: set[tuple[int, int]] = field(default_factory=set)  # from one line to the next; 0 is the end
    masks: dict[int, set[bool]] = field(default_factory=dict)  # of each line with an access, what its lanes' masks were

    @cached_property
    def _body(self) -> list[ast.stmt]:
        try:
            tree = ast.parse(Path(self.code.co_filename).read_text())
        except (OSError, SyntaxError):
            return []
        name, line = self.code.co_name, self.code.co_firstlineno
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
        return next((node.body for node in functions if node.lineno <= line <= (node.end_lineno or 0)), [])

    def _nodes(self) -> Iterator[ast.AST]:
        for statement in self._body:
            yield from ast.walk(statement)

    @property
    def lines(self) -> dict[int, bool]:
        """The line of each statement, and whether it was reached."""
        statements = [node for node in self._nodes() if isinstance(node, ast.stmt)]
        reached = {line for arc in self.arcs for line in arc}
        return {node.lineno: node.lineno in reached for node in sorted(statements, key=lambda node: node.lineno) if not _is_text(node)}

    @property
    def branches(self) -> dict[tuple[int, bool], bool]:
        """Both ways of each ``if`` that is reached, and whether they were taken."""
        return {(node.lineno, way): self._taken(node, way=way) for node in self._conditions() for way in (True, False)}

    def _conditions(self) -> list[ast.If]:
        reached = self.lines
        return [node for node in self._nodes() if isinstance(node, ast.If) and reached[node.lineno] and node.body[0].lineno > node.lineno]

    def _taken(self, node: ast.If, *, way: bool) -> bool:
        test = range(node.lineno, (node.test.end_lineno or node.lineno) + 1)
        after = {end for start, end in self.arcs if start in test and end not in test}
        return node.body[0].lineno in after if way else bool(after - {node.body[0].lineno})

    @property
    def masked(self) -> dict[int, set[bool]]:
        """The lines of accesses that have a mask, and the values that it had."""
        lines = {
            line
            for node in self._nodes()
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and (
                any(keyword.arg in ("mask", "boundary_check") for keyword in node.keywords)
                or (getattr(node.func.value, "id", "") == "tl" and len(node.args) >= MASKED_FROM.get(node.func.attr, 99))
            )
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        return {line: values for line, values in sorted(self.masks.items()) if line in lines}

    def left_out(self) -> Iterator[str]:
        """What was not reached, in words; of a way that was not taken the condition alone."""
        hidden: set[int] = set()
        for node in self._conditions():
            for way, body in ((True, node.body), (False, node.orelse)):
                if not self._taken(node, way=way):
                    yield f"line {node.lineno}: the condition was never {str(way).lower()}"
                    hidden.update(line for statement in body for line in range(statement.lineno, (statement.end_lineno or 0) + 1))
        for line, reached in self.lines.items():
            if not reached and line not in hidden:
                yield f"line {line} was not reached"
        for line, values in self.masked.items():
            for value in {True, False} - values:
                yield f"line {line}: the mask was never {str(value).lower()}"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class Coverage(Watcher):
    """Collects what is reached while it is in force: see ``coverage``."""

    def __init__(self) -> None:
        self.functions: dict[CodeType, Reached] = {}
        self._kernels: dict[CodeType, bool] = {}
        self._before: Any = None

    def begin(self, _launch: Launch) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._called)

    def end(self, _launch: Launch, *, finished: bool) -> None:  # noqa: ARG002 - what was reached was reached
        sys.settrace(self._before)

    def access(self, access: Access) -> None:
        line = access.line
        for code, reached in self.functions.items():
            if code.co_filename == line.file and code.co_name == line.function:
                reached.masks.setdefault(line.number, set()).update({bool(access.active.any()), bool(access.active.all())})

    def _is_kernel(self, code: CodeType) -> bool:
        known = self._kernels.get(code)
        if known is None:
            from triton.runtime.interpreter import InterpretedFunction

            interpreted = {function.__code__ for function in InterpretedFunction.rewritten_fn.values()}
            known = self._kernels[code] = code in interpreted and not is_inside(code)
        return known

    def _called(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        code = frame.f_code
        if not self._is_kernel(code):
            return None
        arcs, last = self.functions.setdefault(code, Reached(code)).arcs, frame.f_lineno

        def traced(frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
            nonlocal last
            if event == "line":
                arcs.add((last, frame.f_lineno))
                last = frame.f_lineno
            elif event == "return":
                arcs.add((last, 0))
            return traced

        return traced

    def table(self) -> Table:
        """A row for each kernel and each function that it calls."""
        table = Table("kernel", box=box.SIMPLE_HEAD, collapse_padding=True)
        for column in ("lines", "branches", "masks"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("left out", overflow="fold")
        for code, reached in self.functions.items():
            masks = [value in values for values in reached.masked.values() for value in (True, False)]
            counts = [f"{sum(each)}/{len(each)}" for each in (reached.lines.values(), reached.branches.values(), masks)]
            table.add_row(code.co_name, *counts, "\n".join(reached.left_out()))
        return table


@contextmanager
def coverage() -> Iterator[Coverage]:
    """Note what launches reach meanwhile; under Python's tracing, which makes them slower."""
    interpreter.repair()
    collected = Coverage()
    watchers.append(collected)
    try:
        yield collected
    finally:
        watchers.remove(collected)
