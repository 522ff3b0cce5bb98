"""Coverage of Triton kernels: the lines, branches and masks that a run reached. A mask that was never false was not tested."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from rich import box
from rich.markup import escape
from rich.table import Table

from moefuzz.kernels import triton_interpreter
from moefuzz.kernels.triton_interpreter.accesses import Access, Watcher, is_inside, watchers
from moefuzz.kernels.triton_interpreter.launches import Launch

MASKED_FROM = {"load": 2, "store": 3}  # a call with at least this many positional arguments has a mask


class Function(NamedTuple):
    """A kernel, or a function that a kernel calls, by its place."""

    file: str
    name: str
    line: int


@dataclass(eq=False)
class Reached:
    """The parts of one function that were reached."""

    function: Function
    arcs: set[tuple[int, int]] = field(default_factory=set)  # from one line to the next; 0 is the end
    masks: dict[int, set[bool]] = field(default_factory=dict)  # by line with an access, the values of the masks of its lanes

    @cached_property
    def _body(self) -> list[ast.stmt]:
        try:
            tree = ast.parse(Path(self.function.file).read_text())
        except (OSError, ValueError, SyntaxError):  # code of a notebook, or of a file that was removed
            return []
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == self.function.name]
        return next((node.body for node in functions if node.lineno <= self.function.line <= (node.end_lineno or 0)), [])

    def add(self, other: Reached) -> None:
        """Add what another run, or another process, reached of the same function."""
        self.arcs |= other.arcs
        for line, values in other.masks.items():
            self.masks.setdefault(line, set()).update(values)

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
        """Both ways of each reached ``if``, and whether each was taken."""
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
        """The lines of accesses with a mask, and the values of the mask."""
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
        """Yield, as words, what was not reached; for a way that was not taken only its condition."""
        hidden: set[int] = set()
        for node in self._conditions():
            for way, body in ((True, node.body), (False, node.orelse)):
                if not self._taken(node, way=way):
                    yield f"line {node.lineno}: if never {str(way).lower()}"
                    hidden.update(line for statement in body for line in range(statement.lineno, (statement.end_lineno or 0) + 1))
        for line, reached in self.lines.items():
            if not reached and line not in hidden:
                yield f"line {line}: not reached"
        for line, values in self.masked.items():
            for value in {True, False} - values:
                yield f"line {line}: mask never {str(value).lower()}"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class Coverage(Watcher):
    """A watcher that collects what launches reach: see ``coverage``."""

    def __init__(self) -> None:
        self.functions: dict[Function, Reached] = {}
        self._kernels: dict[CodeType, Reached | None] = {}
        self._before: Any = None
        self._around: Coverage | None = None  # an outer one, which this one hides

    def begin(self, _launch: Launch) -> None:
        self._before = sys.gettrace()
        self._around = owner if isinstance(owner := getattr(self._before, "__self__", None), Coverage) else None
        sys.settrace(self._called)

    def end(self, _launch: Launch, *, finished: bool) -> None:  # noqa: ARG002 - what was reached was reached
        sys.settrace(self._before)

    def access(self, access: Access) -> None:
        line = access.line
        for function, reached in self.functions.items():
            if function.file == line.file and function.name == line.function:
                reached.masks.setdefault(line.number, set()).update({bool(access.active.any()), bool(access.active.all())})

    def _kernel(self, code: CodeType) -> Reached | None:
        """Return the record of a kernel; None for any other function."""
        from triton.runtime.interpreter import InterpretedFunction

        interpreted = {function.__code__ for function in InterpretedFunction.rewritten_fn.values()}
        function = Function(code.co_filename, code.co_name, code.co_firstlineno)
        of_kernel = code in interpreted and not is_inside(code)
        self._kernels[code] = self.functions.setdefault(function, Reached(function)) if of_kernel else None
        return self._kernels[code]

    def _called(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        code = frame.f_code
        reached = self._kernels[code] if code in self._kernels else self._kernel(code)
        if reached is None:  # as for the thousands of calls within Triton
            return None
        arcs, last = reached.arcs, frame.f_lineno
        around = None if self._around is None else self._around._called(frame, event, argument)

        def traced(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
            nonlocal last
            if around is not None:
                around(frame, event, argument)
            if event == "line":
                arcs.add((last, frame.f_lineno))
                last = frame.f_lineno
            elif event == "return":
                arcs.add((last, 0))
            return traced

        return traced

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process: what was reached, without code objects."""
        return self.__dict__ | {"_kernels": {}, "_before": None, "_around": None}

    def add(self, others: Iterable[Reached]) -> None:
        """Add what was reached elsewhere."""
        for other in others:
            self.functions.setdefault(other.function, Reached(other.function)).add(other)

    def table(self, title: str | None = None) -> Table:
        """Return a table with a row for each kernel and each function that it calls."""
        table = Table("kernel", box=box.SIMPLE_HEAD, collapse_padding=True, title=title and escape(title), title_justify="left")
        for column in ("lines", "branches", "masks"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("left out", overflow="fold")
        for reached in self.functions.values():
            masks = [value in values for values in reached.masked.values() for value in (True, False)]
            counts = [f"{sum(each)}/{len(each)}" for each in (reached.lines.values(), reached.branches.values(), masks)]
            kernel = f"{escape(reached.function.name)}\n[dim]{escape(Path(reached.function.file).name)}[/]"
            table.add_row(kernel, *counts, "\n".join(reached.left_out()))
        return table


@contextmanager
def coverage(collected: Coverage | None = None) -> Iterator[Coverage]:
    """Collect what launches reach within the block, and yield it, added to ``collected``. Python's tracing makes launches slower."""
    triton_interpreter.repair()
    collected = Coverage() if collected is None else collected
    watchers.append(collected)
    try:
        yield collected
    finally:
        watchers.remove(collected)
