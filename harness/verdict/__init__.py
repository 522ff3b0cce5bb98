"""Checks of a case against a target, in this process or in a worker, and what is known of the outcome."""
