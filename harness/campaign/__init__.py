"""A fuzz run: draw and check cases, reduce the failures, write the run's folder."""
