"""Kernels with a planted fault: moefuzz's own kernels, each changed in one place into a bug that real kernels had.

They show that the suite finds such bugs: ``pytest --moe-target moefuzz.harness.planted.faults:forgets_the_row_mask``. The name says what
the kernel does wrong. All stay within memory that they own, so that they can run in any process.
"""

from __future__ import annotations

from dataclasses import dataclass

from moefuzz.harness.targets import Target

from .kernel_copies import changed_kernels


@dataclass(frozen=True)
class Fault:
    """A named change of the kernels' source: in each edit, ``old`` occurs exactly once in ``file`` and is replaced by ``new``."""

    name: str
    edits: tuple[tuple[str, str, str], ...]  # file, old, new

    def edited(self, file: str, text: str) -> str:
        """Return the text of a file with its edits. Raises ValueError if an old text does not occur exactly once."""
        for _, old, new in (edit for edit in self.edits if edit[0] == file):
            if text.count(old) != 1:
                raise ValueError(f"fault {self.name}: {old!r} stands {text.count(old)} times in {file}, not once")
            text = text.replace(old, new)
        return text


def _fault(name: str, *edits: tuple[str, str, str]) -> Fault:
    return Fault(name, edits)


_ROWS, _DW, _OP, _SCHEDULE = "rows.py", "dw.py", "grouped_gemm.py", "tile_schedule.py"
_DW_BODY = "    rn = tl.program_id(0)"

FAULTS = (
    _fault("forgets_the_row_mask", (_DW, "mask_m = rm < end", "mask_m = rm < tl.load(row_ends_ptr + tl.num_programs(2) - 1)")),
    _fault("reads_the_next_expert", (_OP, "_rows(X, W, y, ", "_rows(X, W.roll(-1, 0), y, ")),
    _fault("drops_the_last_k_tile", (_ROWS, "is_owned, K, 0)", "is_owned, K // BLOCK_K * BLOCK_K, 0)")),
    _fault("loses_the_last_row_tile", (_SCHEDULE, "(sizes + (block_m - 1)) // block_m", "(sizes + 1) // block_m")),
    _fault("leaves_empty_expert_dw_unwritten", (_DW, _DW_BODY, f"    if start == end:\n        return\n{_DW_BODY}")),
    _fault("leaves_tail_rows_unwritten", (_ROWS, "if SCATTER and not is_owned:", "if not is_owned:")),
    _fault("weights_in_expert_order", (_ROWS, "tl.load(row_weights_ptr + slots,", "tl.load(row_weights_ptr + rm,")),
    _fault("ignores_permute_y", (_ROWS, "            y_rows = slots", "            y_rows = rm")),
    _fault("gathers_with_the_wrong_topk", (_ROWS, "x_rows = slots // x_divisor", "x_rows = slots // (x_divisor + 1)")),
    _fault("keeps_one_choice_of_dx",
        (_OP, "rows.row_of_slot, call.topk, X.dtype)", "rows.row_of_slot[:: call.topk].contiguous(), 1, X.dtype)")),
    _fault("sums_choices_in_the_output_dtype", (_OP, "dtype=torch.float32 if call.tokens_in else X.dtype", "dtype=X.dtype")),
    _fault("accumulates_in_the_output_dtype",
        (_ROWS, "        acc = tl.dot(", "        acc = acc.to(y_ptr.dtype.element_ty).to(tl.float32)\n        acc = tl.dot(")),
    _fault("fills_dead_lanes_with_ones",
        (_ROWS, "mask_k[None, :], other=0.0", "mask_k[None, :], other=1.0"),
        (_ROWS, "mask_k[:, None], other=0.0", "mask_k[:, None], other=1.0")),
    _fault("reads_slots_behind_the_last", (_DW, "tl.load(gather_ptr + rm, mask=mask_m, other=0)", "tl.load(gather_ptr + rm)")),
    _fault("assumes_contiguous_weights",
        (_OP, "_rows(X, W, y, ", "_rows(X, W.as_strided(W.shape, (W.stride(0), W.shape[2], 1)), y, ")),
)  # fmt: skip

_BY_NAME = {fault.name: fault for fault in FAULTS}


def __getattr__(name: str) -> Target:
    if name not in _BY_NAME:
        raise AttributeError(f"no planted fault {name!r}; there are {', '.join(_BY_NAME)}")
    return planted(_BY_NAME[name])


def planted(fault: Fault) -> Target:
    """Return moefuzz's own op with this fault as a target: a copy of the kernels' folder, edited and imported under another name."""
    module = changed_kernels(f"fault_{fault.name}", fault.edited)
    return Target(f"{__name__}:{fault.name}", module.grouped_gemm, tail_rows="zero")
