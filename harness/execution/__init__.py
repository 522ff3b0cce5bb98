"""How a target is run: its memory between guards, and what it raises."""
