"""Long runs: worker processes that explore and reduce, a folder that they share, a supervisor, and what a run says of itself."""
