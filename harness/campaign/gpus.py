"""The GPUs of this host by UUID, which stays the same in whatever order a process numbers them."""

from __future__ import annotations

import os
import subprocess


class NoSuchGpu(Exception):
    """Raised if a GPU that is asked for is not on this host; the text is one line."""


def listed() -> dict[str, str]:
    """Return UUID and index of each GPU that this process may use. Raises NoSuchGpu if there is no NVIDIA driver."""
    try:
        rows = _smi("index,uuid")
    except (OSError, subprocess.SubprocessError) as error:
        why = "there is no nvidia-smi" if isinstance(error, FileNotFoundError) else str(error).partition("\n")[0]
        raise NoSuchGpu(f"no NVIDIA GPU here: {why}") from None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = {uuid: index for index, uuid in rows}
    if visible is None:
        return found
    return {uuid: found[uuid] for one in visible.split(",") if (uuid := _named(one.strip(), found)) is not None}


def chosen(asked: str) -> list[str]:
    """Return the UUIDs of "all" GPUs, or of those named by index or UUID, as in "0,2". Raises NoSuchGpu."""
    found = listed()
    if asked == "all":
        if not found:
            raise NoSuchGpu("no NVIDIA GPU is visible here")
        return list(found)
    uuids = {one: _named(one.strip(), found) for one in asked.split(",")}
    unknown = [one for one, uuid in uuids.items() if uuid is None]
    if unknown:
        raise NoSuchGpu(f"there is no GPU {', '.join(unknown)} here, only {', '.join(found.values()) or 'none'}")
    return list(dict.fromkeys(uuid for uuid in uuids.values() if uuid is not None))


def memory_used() -> dict[str, int]:
    """Return the bytes in use on each GPU, by UUID; empty if the driver does not tell."""
    try:
        return {uuid: int(used) << 20 for uuid, used in _smi("uuid,memory.used") if used.isdecimal()}
    except (OSError, subprocess.SubprocessError):
        return {}


def _named(one: str, found: dict[str, str]) -> str | None:
    """Return the UUID of a GPU given by index or by the beginning of its UUID, as CUDA accepts it; None if there is none."""
    return next(
        (uuid for uuid, index in found.items() if one and (one == index or (one.startswith("GPU-") and uuid.startswith(one)))), None
    )


def _smi(fields: str) -> list[tuple[str, str]]:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    return [(first.strip(), second.strip()) for first, _, second in (line.partition(",") for line in lines)]
