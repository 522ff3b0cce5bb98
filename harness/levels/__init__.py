"""The levels of targets, a folder for each. Other stages look a level up by the name that a case has for it."""
