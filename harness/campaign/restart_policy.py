"""What follows when the process of a worker has ended: one rule for the workers of this host and for those on Ray."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from moefuzz.harness.base.exit_codes import USAGE

MOST_DEATHS = 5
"""So many ends of a worker in a row without progress, and it is taken out, with its GPU."""


class Next(Enum):
    """What is to be done with a worker whose process has ended."""

    RESTART = auto()
    RETIRE = auto()
    DONE = auto()


@dataclass
class RestartPolicy:
    """Decides for one worker, from how its processes ended up to now."""

    deaths: int = 0
    barren: int = 0  # deaths in a row without progress
    retired: bool = False

    def ended(self, status: int, made_progress: bool, *, time_left: bool, work_left: bool) -> Next:
        """Count the end of a process with an exit status; return what follows.

        ``work_left``: beyond the time there are failures to be reduced. An end with status 0 once the time is up is no death.
        """
        if not is_death(status, time_left=time_left):
            return Next.DONE
        self.deaths += 1
        self.barren = 0 if made_progress else self.barren + 1
        if status == USAGE or self.barren >= MOST_DEATHS:
            self.retired = True
            return Next.RETIRE
        return Next.RESTART if time_left or work_left else Next.DONE


def is_death(status: int, *, time_left: bool) -> bool:
    """Return whether a process that ended should not have."""
    return status != 0 or time_left
