"""The call of a target: its memory between guards, and the failures that its call raises."""
