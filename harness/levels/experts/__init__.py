"""The experts of a block, with a given routing."""
