"""``moefuzz new``: a commented target that runs as it stands, to put a kernel into."""

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
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write, as mine.py; - for the standard output.")],
    level: Annotated[
        NewLevel,
        typer.Option("--level", help="A grouped GEMM, the experts of a block with their routing given, or a whole Qwen3 MoE block."),
    ] = NewLevel[DEFAULT_LEVEL],
) -> None:
    """Write a commented target that is right as it stands, in plain torch: put your kernel there, and say what it promises.

    Exit code 2: the file is there already, or cannot be written, or its name is no module's.
    """
    text = template(level, "mine" if str(file) == "-" else _module(file))
    if str(file) == "-":
        typer.echo(text, nl=False)
        return
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        refuse(f"{file} is there already")
    except OSError as error:
        refuse(f"{file}: {error.strerror}")
    spec = f"{_module(file)}:target"
    typer.echo(f"{file} holds a target of level {level} that is right as it stands\n")
    typer.echo(f"    moefuzz describe {spec}\n    moefuzz fuzz -t {spec} --time 30s")


def template(level: str, module: str) -> str:
    """The text of a target's file."""
    import jinja2

    texts = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("moefuzz.harness.cli"), jinja2.PackageLoader(LEVELS[level], "")]),
        keep_trailing_newline=True, trim_blocks=True, undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - Python, and no page
    )  # fmt: skip
    return texts.get_template("new.py.jinja").render(level=level, module=module)


def _module(file: Path) -> str:
    """The module that a file in or below the working directory is; that of its own folder elsewhere. The end where it is none."""
    relative = Path(os.path.relpath(file))
    parts = (file.stem,) if relative.parts[:1] == ("..",) else (*relative.parts[:-1], file.stem)
    if file.suffix != ".py" or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        refuse(f"{file} is no file that Python can import: give a name like mine.py")
    if importlib.util.find_spec(parts[0]) is not None and not Path(parts[0]).is_dir():
        refuse(f"a module {parts[0]} is installed, and would be imported instead of {file}: give another name")
    return ".".join(parts)
