"""Kernels that are wrong on purpose, by which the tests show what moefuzz finds."""
