"""Cases as text, and back: JSON with a format version, and the repr that a report prints."""

from __future__ import annotations

import ast
import json
from typing import Any

from moefuzz.kernels.kernel_config import KernelConfig

from .base import FORMAT_VERSION
from .grouped_gemm import GroupedGemmCase
from .moe import ExpertsCase, MoeBlockCase

Case = GroupedGemmCase | MoeBlockCase | ExpertsCase
KINDS: dict[str, type[Case]] = {kind.__name__: kind for kind in (GroupedGemmCase, MoeBlockCase, ExpertsCase)}


def case_from_json(text: str) -> Case:
    """The case that ``to_json`` wrote; what it leaves out has its default. Raises ValueError for another format version, kind or field."""
    fields: dict[str, Any] = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"case must be an object, got {fields!r}"[:200])
    version, kind = fields.pop("format", None), fields.pop("kind", None)
    if version != FORMAT_VERSION:
        raise ValueError(f"case has format {version}, this version of moefuzz reads {FORMAT_VERSION}")
    if kind not in KINDS:
        raise ValueError(f"case must be one of {tuple(KINDS)}, got {kind!r}")
    for name in ("m_sizes", "loads"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    try:
        if isinstance(fields.get("config"), dict):
            fields["config"] = KernelConfig(**fields["config"])
        return KINDS[kind](**fields)
    except TypeError as error:
        raise ValueError(f"{kind} cannot be made of these fields: {error}") from None


def case_from_repr(text: str) -> Case:
    """The case whose repr this is: a call of a case class with literal arguments. Raises ValueError otherwise."""
    try:
        case = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError) as error:
        raise ValueError(f"not a case: {error}") from None
    if isinstance(case, Case):
        return case
    raise ValueError(f"not a case: {text!r}")


def _value(node: ast.expr) -> Any:
    """A literal, or a call of a case class or KernelConfig with such arguments; nothing else is run."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (*KINDS, "KernelConfig"):
        kind: Any = KINDS.get(node.func.id, KernelConfig)
        return kind(*map(_value, node.args), **{keyword.arg or "": _value(keyword.value) for keyword in node.keywords})
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"not a case, nor a literal in one: {ast.unparse(node)}") from None
