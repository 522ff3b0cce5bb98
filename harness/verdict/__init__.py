"""A case against a target: check, here or in a worker, and what is known of the outcome."""
