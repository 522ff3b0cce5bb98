"""Exit statuses of a run, of the command and of pytest alike; 0 means that no failure was found."""

FOUND = 1
USAGE = 2
INFRASTRUCTURE = 3
INTERNAL = 4  # an error of moefuzz itself
NOTHING_RAN = 5
INTERRUPTED = 130
BROKEN_PIPE = 141  # standard output was closed; the status of a command that SIGPIPE ends
