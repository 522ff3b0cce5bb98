"""Implementations of others as targets, a file each."""
