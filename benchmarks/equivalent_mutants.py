"""Equivalent mutants, which compute the same as the original, each with its proof. Names are those of ``harness/planted/mutants.py``."""

_PROVEN = (
    (
        "Every configuration gives the same result, so which one is chosen changes none.",
        (
            "grouped_gemm.py forward: condition: launch if autotune else None -> launch",
            "grouped_gemm.py forward: condition: launch if autotune else None -> None",
            "grouped_gemm.py _dx: condition: launch if ctx.autotune else None -> launch",
            "grouped_gemm.py _dx: condition: launch if ctx.autotune else None -> None",
            "grouped_gemm.py _dw: constant: 2 -> 1",
            "grouped_gemm.py _dw: condition: launch if ctx.autotune else None -> launch",
            "grouped_gemm.py _dw: condition: launch if ctx.autotune else None -> None",
        ),
    ),
    (
        "Autograd drops a gradient that no input needs.",
        (
            "grouped_gemm.py backward: condition: _dx(ctx, dY, X, W) if ctx.needs_input_grad[0] else None -> _dx(ctx, dY, X, W)",
            "grouped_gemm.py backward: condition: _dw(ctx, dY, X, W) if ctx.needs_input_grad[1] else None -> _dw(ctx, dY, X, W)",
        ),
    ),
    (
        "Autograd takes a None too many for nothing.",
        ("grouped_gemm.py backward: constant: 5 -> 6",),
    ),
    (
        "Autograd casts a gradient to the dtype of its input; the accumulator is rounded once either way.",
        ("grouped_gemm.py _dx: condition: torch.float32 if call.tokens_in else X.dtype -> torch.float32",),
    ),
    (
        "The counts are the same numbers in either integer type.",
        (
            "dw.py _grouped_gemm_dw_kernel: call dropped: tl.load(m_sizes_ptr + e).to(tl.int32) -> tl.load(m_sizes_ptr + e)",
            "tile_schedule.py _tile_schedule_kernel: call dropped: tl.load(m_sizes_ptr + e, mask=e < E, other=0).to(tl.int32) -> tl.load(m_sizes_ptr + e, mask=e < E, other=0)",
        ),
    ),
    (
        "Strides are annotated as int64, and so is a product with one; where Triton makes a stride of 1 a constant, the index alone fits int32.",
        (
            "dw.py _grouped_gemm_dw_kernel: call dropped: rn.to(tl.int64) -> rn",
            "dw.py _grouped_gemm_dw_kernel: int32 offset: tl.int64 -> tl.int32",
            "dw.py _grouped_gemm_dw_kernel: call dropped: rk.to(tl.int64) -> rk",
            "dw.py _grouped_gemm_dw_kernel: int32 offset: tl.int64 -> tl.int32 #2",
            "dw.py _grouped_gemm_dw_kernel: call dropped: x_rows.to(tl.int64) -> x_rows",
            "dw.py _grouped_gemm_dw_kernel: int32 offset: tl.int64 -> tl.int32 #3",
            "dw.py _grouped_gemm_dw_kernel: call dropped: dy_rows.to(tl.int64) -> dy_rows",
            "dw.py _grouped_gemm_dw_kernel: int32 offset: tl.int64 -> tl.int32 #4",
            "dw.py _grouped_gemm_dw_kernel: call dropped: e.to(tl.int64) -> e",
            "dw.py _grouped_gemm_dw_kernel: int32 offset: tl.int64 -> tl.int32 #5",
            "rows.py _grouped_gemm_rows_kernel: call dropped: rn.to(tl.int64) -> rn",
            "rows.py _grouped_gemm_rows_kernel: int32 offset: tl.int64 -> tl.int32",
            "rows.py _grouped_gemm_rows_kernel: call dropped: rk.to(tl.int64) -> rk",
            "rows.py _grouped_gemm_rows_kernel: int32 offset: tl.int64 -> tl.int32 #2",
            "rows.py _grouped_gemm_rows_kernel: call dropped: x_rows.to(tl.int64) -> x_rows",
            "rows.py _grouped_gemm_rows_kernel: int32 offset: tl.int64 -> tl.int32 #3",
            "rows.py _grouped_gemm_rows_kernel: call dropped: e.to(tl.int64) -> e",
            "rows.py _grouped_gemm_rows_kernel: int32 offset: tl.int64 -> tl.int32 #4",
            "rows.py _grouped_gemm_rows_kernel: call dropped: y_rows.to(tl.int64) -> y_rows",
            "rows.py _grouped_gemm_rows_kernel: int32 offset: tl.int64 -> tl.int32 #5",
        ),
    ),
    (
        "The slot of a masked row addresses only what is masked as well.",
        (
            "dw.py _grouped_gemm_dw_kernel: other dropped: tl.load(gather_ptr + rm, mask=mask_m, other=0) -> tl.load(gather_ptr + rm, mask=mask_m)",
            "dw.py _grouped_gemm_dw_kernel: other is one: 0 -> 1",
            "rows.py _grouped_gemm_rows_kernel: other dropped: tl.load(gather_ptr + rm, mask=mask_m & is_owned, other=0) -> tl.load(gather_ptr + rm, mask=mask_m & is_owned)",
            "rows.py _grouped_gemm_rows_kernel: other is one: 0 -> 1",
        ),
    ),
    (
        "The other operand is 0 in the same steps of the contraction, and rows or columns beyond the tensor are not stored.",
        (
            "dw.py _grouped_gemm_dw_kernel: other is one: 0.0 -> 1",
            "dw.py _grouped_gemm_dw_kernel: other is one: 0.0 -> 1 #2",
            "rows.py _grouped_gemm_rows_kernel: other is one: 0.0 -> 1",
            "rows.py _grouped_gemm_rows_kernel: other is one: 0.0 -> 1 #2",
            "rows.py _grouped_gemm_rows_kernel: other is one: 0.0 -> 1 #3",
            "rows.py _grouped_gemm_rows_kernel: other is one: 0.0 -> 1 #4",
        ),
    ),
    (
        "A masked row or column reaches only elements of the accumulator that are not stored.",
        (
            "rows.py _grouped_gemm_rows_kernel: other dropped: tl.load(x_ptrs, mask=mask_m[:, None], other=0.0) -> tl.load(x_ptrs, mask=mask_m[:, None])",
            "rows.py _grouped_gemm_rows_kernel: other dropped: tl.load(w_ptrs, mask=mask_n[None, :], other=0.0) -> tl.load(w_ptrs, mask=mask_n[None, :])",
            "rows.py _grouped_gemm_rows_kernel: other dropped: tl.load(row_weights_ptr + slots, mask=mask_m & is_owned, other=0.0) -> tl.load(row_weights_ptr + slots, mask=mask_m & is_owned)",
            "rows.py _grouped_gemm_rows_kernel: other is one: 0.0 -> 1 #5",
        ),
    ),
    (
        "The slots of masked rows are 0, where there is a weight, and their rows are not stored.",
        (
            "rows.py _grouped_gemm_rows_kernel: mask dropped: tl.load(row_weights_ptr + slots, mask=mask_m & is_owned, other=0.0) -> tl.load(row_weights_ptr + slots)",
        ),
    ),
    (
        "A product of float32 and a narrower type is float32.",
        (
            "rows.py _grouped_gemm_rows_kernel: call dropped: tl.load(row_weights_ptr + slots, mask=mask_m & is_owned, other=0.0).to(tl.float32) -> tl.load(row_weights_ptr + slots, mask=mask_m & is_owned, other=0.0)",
        ),
    ),
    (
        "The output is allocated contiguous: its last stride is 1.",
        (
            "dw.py _grouped_gemm_dw_kernel: left operand: rk64 * stride_wk -> rk64",
            "rows.py _grouped_gemm_rows_kernel: left operand: rn64 * stride_yn -> rn64",
        ),
    ),
    (
        "Both branches address the same elements, and no mask lets the promised alignment widen a store: see stores.py.",
        (
            "dw.py _grouped_gemm_dw_kernel: condition: ALIGNED -> not (ALIGNED) #3",
            "rows.py _grouped_gemm_rows_kernel: condition: ALIGNED -> not (ALIGNED) #4",
        ),
    ),
    (
        "tl.store casts to the type of its pointer.",
        (
            "dw.py _grouped_gemm_dw_kernel: call dropped: acc.to(dw_ptr.dtype.element_ty) -> acc",
            "rows.py _grouped_gemm_rows_kernel: call dropped: acc.to(y_ptr.dtype.element_ty) -> acc",
        ),
    ),
    (
        "Programs beyond the last tile have no lane that is not masked.",
        (
            "dw.py grouped_gemm_dw: left operand: -N // config.block_n -> -N",
            "dw.py grouped_gemm_dw: left operand: -K // config.block_k -> -K",
            "rows.py grouped_gemm_rows: left operand: -N // block_n -> -N",
        ),
    ),
    (
        "A pointer that is never read may be None.",
        (
            "dw.py grouped_gemm_dw: condition: row_ends if gather_indices is None else gather_indices -> gather_indices",
            "rows.py grouped_gemm_rows: condition: unused if row_map.gather_indices is None else row_map.gather_indices -> row_map.gather_indices",
            "rows.py grouped_gemm_rows: condition: unused if row_map.row_weights is None else row_map.row_weights -> row_map.row_weights",
        ),
    ),
    (
        "Under alignment both strides are 1 for no operand: a width is at least 8.",
        (
            "rows.py grouped_gemm_rows: constant: 1 -> 2 #3",
            "rows.py grouped_gemm_rows: constant: 1 -> 0 #3",
        ),
    ),
    (
        "A larger bound only adds tiles without an expert.",
        (
            "tile_schedule.py tile_bound: left operand: (M - busy) // block_m -> M - busy",
            "tile_schedule.py tile_bound: left operand: M - busy -> M",
            "tile_schedule.py tile_bound: sign: M - busy -> M + busy",
            "tile_schedule.py tile_bound: constant: 1 -> 2",
        ),
    ),
    (
        "Where an expert ends at row 1, it has tile 0 alone, whose row is 0 and whose band is itself either way.",
        ("tile_schedule.py _tile_schedule_kernel: constant: 0 -> 1 #9",),
    ),
    (
        "A tile that is not needed begins at any row that is not below its end, which is 0.",
        ("tile_schedule.py _tile_schedule_kernel: constant: 0 -> 1 #10",),
    ),
    (
        "No case has so many experts that a program of the schedule has fewer than two tiles.",
        (
            "tile_schedule.py tile_schedule: constant: 1 -> 2",
            "tile_schedule.py tile_schedule: constant: 1 -> 0",
        ),
    ),
    (
        "Larger programs, and programs beyond the last tile, lay out the same tiles.",
        (
            "tile_schedule.py tile_schedule: left operand: _ENTRIES // block_e -> _ENTRIES",
            "tile_schedule.py tile_schedule: left operand: -n_tiles // block_t -> -n_tiles",
        ),
    ),
)

EQUIVALENT = {name: proof for proof, names in _PROVEN for name in names}
