"""The level of the experts of a block, with a given routing."""
