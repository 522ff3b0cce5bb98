"""How many kernels Triton compiled, or loaded from its cache, for cases of this process and of its workers; none under the interpreter.

The count is the process's, whichever thread or case it was for: the hook that counts is one for all of Triton.
"""

from __future__ import annotations

from typing import Any

from triton import knobs

_count = 0


def compiled() -> int:
    """How many up to now."""
    return _count


def add(more: int) -> None:
    """Count what a worker compiled."""
    global _count
    _count += more


def watch() -> None:
    """Count from now on; once is enough."""
    before = knobs.runtime.jit_post_compile_hook
    if getattr(before, "counts", False):
        return

    def hook(*arguments: Any, **keywords: Any) -> Any:
        add(1)
        return before(*arguments, **keywords) if before else None

    hook.counts = True  # type: ignore[attr-defined]
    knobs.runtime.jit_post_compile_hook = hook
