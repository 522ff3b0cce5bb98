"""A Qwen3 MoE block, router and experts."""
