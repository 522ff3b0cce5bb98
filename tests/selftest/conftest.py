"""Claims about this tool are the same on every CPU."""

from __future__ import annotations

import os

# oneDNN's AMX kernels take up what lies behind the rows of a bfloat16 operand (docs/trophies.md), and torch_loop stands for a right target.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
