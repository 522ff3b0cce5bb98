"""A failure made small, and what it needs."""
