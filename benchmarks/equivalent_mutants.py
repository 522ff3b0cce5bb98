"""Mutants that compute what the original computes, each with its proof."""

EQUIVALENT: dict[str, str] = {}
