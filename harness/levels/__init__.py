"""The levels of target. Each is a folder; a stage asks for one by the name that its case has."""
