"""``moefuzz new``: write a commented target that runs as it is, as a template for a kernel."""

from __future__ import annotations

import importlib.util
import keyword
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moefuzz.harness.base.contract import DEFAULT_LEVEL, LEVELS

from .options import refuse

NewLevel = StrEnum("NewLevel", {name: name for name in LEVELS})  # type: ignore[misc]


def new_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, as mine.py; - for standard output.")],
    level: Annotated[
        NewLevel,
        typer.Option("--level", help="A grouped GEMM, the experts of a block with given routing, or a whole Qwen3 MoE block."),
    ] = NewLevel[DEFAULT_LEVEL],
) -> None:
    """Write a correct target in plain torch, with comments: replace its body with your kernel, and declare what the kernel supports.

    Exit code 2: FILE exists or cannot be written, or its name is not a module name.
    """
    text = template(level, "mine" if str(file) == "-" else _module(file))
    if str(file) == "-":
        typer.echo(text, nl=False)
        return
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        refuse(f"{file} exists already")
    except OSError as error:
        refuse(f"{file}: {error.strerror}")
    spec = f"{_module(file)}:target"
    typer.echo(f"{file} holds a correct target of level {level} in plain torch\n")
    typer.echo(f"    moefuzz describe {spec}\n    moefuzz fuzz -t {spec} --time 30s")


def template(level: str, module: str) -> str:
    """Return the text of a target's file."""
    import jinja2

    texts = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("moefuzz.harness.cli"), jinja2.PackageLoader(LEVELS[level], "")]),
        keep_trailing_newline=True, trim_blocks=True, undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is Python, not HTML
    )  # fmt: skip
    return texts.get_template("new.py.jinja").render(level=level, module=module)


def _module(file: Path) -> str:
    """Return the module name of a file, relative to the working directory or else its own folder; end the command if it has none."""
    relative = Path(os.path.relpath(file))
    parts = (file.stem,) if relative.parts[:1] == ("..",) else (*relative.parts[:-1], file.stem)
    if file.suffix != ".py" or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        refuse(f"{file} is no file that Python can import: give a name like mine.py")
    if importlib.util.find_spec(parts[0]) is not None and not Path(parts[0]).is_dir():
        refuse(f"a module {parts[0]} is installed, and would be imported instead of {file}: give another name")
    return ".".join(parts)
