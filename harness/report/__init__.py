"""Reports of failures and runs, for people and for other programs."""
