"""Code that the two levels with tokens and a routing share: a block, and its experts alone."""
