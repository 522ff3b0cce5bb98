"""The number of kernels that Triton compiled, or loaded from its cache, for this process and its workers; 0 under the interpreter.

The count is global, over all threads and cases: Triton has a single hook for it.
"""

from __future__ import annotations

from typing import Any

from triton import knobs

_count = 0


def compiled() -> int:
    """Return the count up to now."""
    return _count


def add(more: int) -> None:
    """Add the count of a worker."""
    global _count
    _count += more


def watch() -> None:
    """Count from now on; further calls change nothing."""
    before = knobs.runtime.jit_post_compile_hook
    if getattr(before, "counts", False):
        return

    def hook(*arguments: Any, **keywords: Any) -> Any:
        add(1)
        return before(*arguments, **keywords) if before else None

    hook.counts = True  # type: ignore[attr-defined]
    knobs.runtime.jit_post_compile_hook = hook
