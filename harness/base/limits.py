"""Defaults that the command states before it imports what they apply to."""

CASE_SECONDS = 60.0
"""What a case may take, compiling included, before its worker is killed."""
