"""What a run ends with, for the command and for pytest alike; 0 is nothing found."""

FOUND = 1
USAGE = 2
INFRASTRUCTURE = 3
INTERRUPTED = 130
