"""Defaults that the command shows before it imports the modules that use them."""

CASE_SECONDS = 60.0
"""The seconds that a case may take, compilation included, before its worker is killed."""
