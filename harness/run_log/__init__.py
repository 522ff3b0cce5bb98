"""The log of a run: write its events, read them one at a time, and compute the state of the run from them."""
