"""Targets by name: entry points, ``pkg.mod:attr``, those that the environment names, and moefuzz's own."""

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
from pathlib import Path
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
"""The names of moefuzz's own targets, by level; the first is the default."""


@contextmanager
def chosen(spec: str) -> Iterator[None]:
    """Make this target the default within the block."""
    with ambient.using(target=spec):
        yield


def specs_of_environment() -> list[str]:
    """Return the targets that the environment variable MOEFUZZ_TARGET names, separated by blanks, each by its module."""
    return [without_file(spec) for spec in os.environ.get(TARGET_VARIABLE, "").split()]


def specs_of_run(level: str) -> list[str]:
    """Return the targets of a level that the environment variable MOEFUZZ_TARGET names, separated by blanks; without it, moefuzz's own."""
    named = specs_of_environment()
    return [spec for spec in named if load_target(spec).level == level] if named else list(OWN_TARGETS.get(level, ()))


def default_target(level: str = DEFAULT_LEVEL) -> Target:
    """Return the chosen target, else the first of this level that MOEFUZZ_TARGET names, or the first of any, else moefuzz's own.

    Raises BadTarget at a level for which moefuzz has no target of its own.
    """
    one = ambient.current().target
    specs = [one] if one else specs_of_environment() or OWN_TARGETS.get(level, ())
    named = [load_target(spec) for spec in specs]
    if not named:
        raise BadTarget(f"moefuzz has no target of level {level}: name one")
    return next((target for target in named if target.level == level), named[0])


def named_targets() -> dict[str, EntryPoint]:
    """Return the entry points of the group ``moefuzz.targets``, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def home_of(name: str, target: Target) -> str:
    """Return the distribution that an installed target runs, and its version."""
    package = target.module.partition(".")[0]
    if package:
        dists = packages_distributions().get(package)
        return f"{dists[0]} {version(dists[0])}" if dists else f"{package}, of no known version"
    dist = named_targets()[name].dist
    return f"{dist.name} {dist.version}" if dist else "-"


@functools.cache
def load_target(spec: str) -> Target:
    """Return the target of a name or of ``pkg.mod:attr``, ready to be called. Raises BadTarget with one line that says what to do."""
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


_remembered: dict[str, Target] = {}  # global, since a report may be written anywhere in the process


def remember_target(target: Target) -> None:
    """Remember a target that ran, since it may have no name by which it can be imported."""
    _remembered[target.name] = target


def remembered_target(name: str) -> Target | None:
    """Return the target that ran under a name in this process, as declared there; else the one that the name finds, or None."""
    try:
        return _remembered.get(name) or load_target(name)
    except BadTarget:
        return None


def is_found_by_name(target: Target) -> bool:
    """Return whether another process finds a target by its name, with the same declaration."""
    if target.is_declaration:
        return True
    try:
        return has_a_name(target.name) and load_target(target.name) == target
    except BadTarget:
        return False


def has_a_name(name: str) -> bool:
    """Return whether another process can find a target by this name."""
    return ":" in name or name in named_targets()


@functools.cache
def declared_target(spec: str) -> Target:
    """Return the target of a name, of ``pkg.mod:attr`` or of ``mine.py:attr``; ``attr`` is a Target or a function.

    The package for which it is an adapter is not imported.

    Raises BadTarget, also where that package is not installed.
    """
    spec, named = without_file(spec), named_targets()
    if ":" not in spec and spec in named:
        return dataclasses.replace(declared_target(named[spec].value), name=spec)
    module_name, colon, attribute = spec.partition(":")
    module_name = current(module_name)
    _raise_if_outside(spec, module_name)
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


def _raise_if_outside(spec: str, file: str) -> None:
    """Raise BadTarget for a target that is named by a file outside of the working directory, from which modules are imported."""
    if file.endswith(".py") and os.path.isfile(file) and not Path(file).resolve().is_relative_to(Path.cwd()):  # noqa: PTH113 - False for no path
        raise BadTarget(f"target {spec!r} lies outside of the working directory: run the command in the folder of {Path(file).name}")


def _level_of(function: Callable[..., Any]) -> str:
    """Return the level of a plain function, by the name of its first parameter."""
    first = next(iter(signature_of(function).parameters), None)
    return level_of_first_parameter(str(first)) or DEFAULT_LEVEL


@contextmanager
def _exits_are_raised() -> Iterator[None]:
    """Make ``os._exit`` raise SystemExit within the block, so that a module that ends its process is reported in one line."""
    original, process = os._exit, os.getpid()

    def exits(status: int) -> NoReturn:
        if os.getpid() != process:  # called in a child that the module forked
            original(status)
        raise SystemExit(f"os._exit({status!r})")

    os._exit = exits
    try:
        yield
    finally:
        os._exit = original


def imported(name: str) -> ModuleType:
    """Import and return a module; the working directory and the folder of the project's settings are searched too."""
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
