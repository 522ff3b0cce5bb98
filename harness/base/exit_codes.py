"""What a run ends with, for the command and for pytest alike; 0 is nothing found."""

FOUND = 1
USAGE = 2
INFRASTRUCTURE = 3
INTERNAL = 4  # an error of moefuzz itself
NOTHING_RAN = 5
INTERRUPTED = 130
BROKEN_PIPE = 141  # nothing reads what is printed any more, as of a command that SIGPIPE ends
