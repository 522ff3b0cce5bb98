"""The level of a Qwen3 MoE block, router and experts."""
