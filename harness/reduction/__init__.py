"""Reduction of a failure to its smallest case, and the conditions that the failure needs."""
