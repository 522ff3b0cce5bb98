"""Cases as text, and back: JSON with a format version, and the repr that a report prints."""

from __future__ import annotations

import ast
import dataclasses
import json
from typing import Any

from moefuzz.kernels.kernel_config import KernelConfig, shown

from .case import FORMAT_VERSION, Case
from .contract import contracts


def case_kinds() -> dict[str, type[Case]]:
    """Return the classes of cases by name."""
    return {contract.case.__name__: contract.case for contract in contracts()}


def case_from_json(text: str) -> Case:
    """Return the case that ``to_json`` wrote; absent fields get their default. Raises ValueError for an unknown format, kind or field."""
    try:
        fields: dict[str, Any] = json.loads(text)
    except RecursionError:
        raise ValueError("case must be an object, got one that is nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError(f"case must be an object, got {shown(fields)}")
    version, kind = fields.pop("format", None), fields.pop("kind", None)
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(f"case has format {shown(version)}, this version of moefuzz reads {FORMAT_VERSION}")
    kinds = case_kinds()
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"case must be one of {tuple(kinds)}, got {shown(kind)}")
    for one in dataclasses.fields(kinds[kind]):
        if str(one.type).startswith("tuple") and isinstance(fields.get(one.name), list):
            fields[one.name] = tuple(fields[one.name])
    if isinstance(fields.get("config"), dict):
        fields["config"] = _made(KernelConfig, **fields["config"])
    case: Case = _made(kinds[kind], **fields)
    return case


def _made(kind: Any, *values: Any, **fields: Any) -> Any:
    """Return a case or a config with these fields. Raises ValueError for an unknown field and for a missing one."""
    known = [field.name for field in dataclasses.fields(kind)]
    if unknown := [name for name in fields if name not in known]:
        raise ValueError(f"{kind.__name__} has no field {shown(unknown[0])}; its fields are {', '.join(known)}")
    try:
        return kind(*values, **fields)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be made of these fields: {error}") from None


def case_from_repr(text: str) -> Case:
    """Return the case of a repr, which is a call of a case class with literal arguments. Raises ValueError for any other text."""
    try:
        case = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError) as error:
        raise ValueError(f"not a case: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"not a case, nested too deeply: {shown(text)}") from None
    if isinstance(case, Case):
        return case
    raise ValueError(f"not a case: {shown(text)}")


def _value(node: ast.expr) -> Any:
    """Evaluate a literal, or a call of a case class or KernelConfig with such arguments. Raises ValueError for any other expression."""
    makers: dict[str, Any] = {**case_kinds(), "KernelConfig": KernelConfig}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers:
        kind = makers[node.func.id]
        return _made(kind, *map(_value, node.args), **{keyword.arg or "**": _value(keyword.value) for keyword in node.keywords})
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"not a case, nor a literal in one: {shown(ast.unparse(node))}") from None
