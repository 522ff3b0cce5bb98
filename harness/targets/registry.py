"""Targets by name: entry points, ``pkg.mod:attr``, what the environment asks for, and our own."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points, packages_distributions, version
from types import ModuleType
from typing import Any, NoReturn

from moefuzz.harness.aliases import current
from moefuzz.harness.base import ambient
from moefuzz.harness.base.contract import DEFAULT_LEVEL, contract_of, contracts, level_of_first_parameter
from moefuzz.harness.base.environment import TARGET_VARIABLE
from moefuzz.harness.base.exception_text import text_of
from moefuzz.harness.base.project_settings import module_folders
from moefuzz.harness.base.signals import is_ours
from moefuzz.harness.base.suggestions import did_you_mean_target, without_file

from . import BadTarget, Target, signature_of

GROUP = "moefuzz.targets"
OWN_TARGETS = {contract.level: contract.own_targets for contract in contracts()}
"""By level; the first is the default."""


@contextmanager
def chosen(spec: str) -> Iterator[None]:
    """While it lasts, this target is the default."""
    with ambient.using(target=spec):
        yield


def specs_of_run(level: str) -> list[str]:
    """The targets of a level that the environment variable MOEFUZZ_TARGET names, separated by blanks; without it, our own."""
    named = os.environ.get(TARGET_VARIABLE, "").split()
    return [spec for spec in named if load_target(spec).level == level] if named else list(OWN_TARGETS.get(level, ()))


def default_target(level: str = DEFAULT_LEVEL) -> Target:
    """The target that is chosen, else the first of this level that MOEFUZZ_TARGET names, or the first of any, else our own.

    Raises BadTarget at a level without a target of our own.
    """
    one = ambient.current().target
    specs = [one] if one else os.environ.get(TARGET_VARIABLE, "").split() or OWN_TARGETS.get(level, ())
    named = [load_target(spec) for spec in specs]
    if not named:
        raise BadTarget(f"moefuzz has no target of level {level}: name one")
    return next((target for target in named if target.level == level), named[0])


def named_targets() -> dict[str, EntryPoint]:
    """What is installed under a name, by the entry points of the group ``moefuzz.targets``."""
    return {point.name: point for point in entry_points(group=GROUP)}


def home_of(name: str, target: Target) -> str:
    """The distribution that computes what an installed target gives, and its version."""
    package = target.module.partition(".")[0]
    if package:
        dists = packages_distributions().get(package)
        return f"{dists[0]} {version(dists[0])}" if dists else f"{package}, of no known version"
    dist = named_targets()[name].dist
    return f"{dist.name} {dist.version}" if dist else "-"


@functools.cache
def load_target(spec: str) -> Target:
    """The target of a name or of ``pkg.mod:attr``, ready to be called. Raises BadTarget with one line that says what to do."""
    from moefuzz.harness.base.device import describe, device
    from moefuzz.kernels import triton_interpreter

    target = declared_target(spec)
    if device().type not in target.devices:
        raise BadTarget(f"target {spec!r} runs on {' or '.join(target.devices)} alone, and targets run on: {describe()}")
    if target.module:
        triton_interpreter.repair()  # before the package defines its kernels
        try:
            importlib.import_module(target.module)
        except BaseException as error:
            if is_ours(error):
                raise
            said = f"importing {target.module} failed with {type(error).__name__}: {text_of(error)}"
            raise BadTarget(f"target {spec!r}: {said} (to install it: {target.install})") from error
    return target


_remembered: dict[str, Target] = {}  # of the whole process: a report is written wherever the failure ends up


def remember_target(target: Target) -> None:
    """Remember a target that ran, which may have no name by which it is imported."""
    _remembered[target.name] = target


def remembered_target(name: str) -> Target | None:
    """The target that ran under a name in this process, as it was declared there, or else the one that the name finds."""
    try:
        return _remembered.get(name) or load_target(name)
    except BadTarget:
        return None


def is_found_by_name(target: Target) -> bool:
    """Whether another process finds a target by its name, with the same declaration."""
    if target.is_declaration:
        return True
    try:
        return has_a_name(target.name) and load_target(target.name) == target
    except BadTarget:
        return False


def has_a_name(name: str) -> bool:
    """Whether another process can find a target by this name."""
    return ":" in name or name in named_targets()


@functools.cache
def declared_target(spec: str) -> Target:
    """The target of a name, of ``pkg.mod:attr`` or of ``mine.py:attr``, a Target or a function.

    The package that it is an adapter for is not imported.

    Raises BadTarget, also where that package is not installed.
    """
    spec, named = without_file(spec), named_targets()
    if ":" not in spec and spec in named:
        return dataclasses.replace(declared_target(named[spec].value), name=spec)
    module_name, colon, attribute = spec.partition(":")
    module_name = current(module_name)
    if not colon or not module_name or not attribute:
        meant = did_you_mean_target(spec, named)
        raise BadTarget(f"target {spec!r} must have the form pkg.mod:attr, or be a name that `moefuzz targets` lists{meant}")
    from moefuzz.kernels import triton_interpreter

    triton_interpreter.repair()  # before the module defines its kernels
    try:
        with _exits_are_raised():
            module = imported(module_name)
    except BadTarget:
        raise
    except BaseException as error:
        if is_ours(error):
            raise
        said = f"importing {module_name} failed with {type(error).__name__}: {text_of(error)}"
        raise BadTarget(f"target {spec!r}: {said}{did_you_mean_target(spec, named)}") from error
    found = getattr(module, attribute, None)
    if isinstance(found, Target):
        package = found.module.partition(".")[0]
        if package and importlib.util.find_spec(package) is None:
            raise BadTarget(f"target {found.name!r} needs the package {package}, which is not installed: {found.install}")
        _check_signature(found.function, spec, found.level)
        return dataclasses.replace(found, name=spec)
    if not callable(found):
        what = "has no attribute" if found is None else "has no callable"
        raise BadTarget(f"target {spec!r}: module {module_name} {what} {attribute!r}{did_you_mean_target(spec, named)}")
    level = _level_of(found)
    _check_signature(found, spec, level)
    own = f"{module_name}:{attribute}" in OWN_TARGETS.get(level, ())
    return Target(spec, found, level=level, **contract_of(level).own_fields if own else {})


def _level_of(function: Callable[..., Any]) -> str:
    """The level of a plain function, told by the name of its first parameter."""
    first = next(iter(signature_of(function).parameters), None)
    return level_of_first_parameter(str(first)) or DEFAULT_LEVEL


@contextmanager
def _exits_are_raised() -> Iterator[None]:
    """While it lasts, ``os._exit`` raises SystemExit: a module that ends its process is told in one line."""
    original, process = os._exit, os.getpid()

    def exits(status: int) -> NoReturn:
        if os.getpid() != process:  # of a child that the module forked
            original(status)
        raise SystemExit(f"os._exit({status!r})")

    os._exit = exits
    try:
        yield
    finally:
        os._exit = original


def imported(name: str) -> ModuleType:
    """A module, from the working directory and beside the project's settings too: there is where its author stands."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
    here = module_folders()
    sys.path.extend(here)
    try:
        return importlib.import_module(name)
    finally:
        for folder in here:
            sys.path.remove(folder)


def _check_signature(function: Callable[..., Any], spec: str, level: str) -> None:
    signature, contract = signature_of(function), contract_of(level)
    further = {name: None for name in contract.optional if name in signature.parameters}
    try:
        signature.bind(*contract.parameters, **further)
    except TypeError as error:
        others = "; ".join(f"{other.level}: f({', '.join(other.parameters)})" for other in contracts() if other is not contract)
        said = f"cannot be called as f({', '.join(contract.parameters)}): {error} ({others})"
        raise BadTarget(f"target {spec!r} {said}") from None
