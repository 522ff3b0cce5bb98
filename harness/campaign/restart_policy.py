"""Decide what to do when the process of a worker has ended; the rule is the same on this host and on Ray."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from moefuzz.harness.base.exit_codes import USAGE

MOST_DEATHS = 5
"""After so many failed processes in a row without progress, a worker is retired, and its GPU with it."""


class Next(Enum):
    """What to do with a worker whose process has ended."""

    RESTART = auto()
    RETIRE = auto()
    DONE = auto()


@dataclass
class RestartPolicy:
    """Decides for one worker, from how its processes ended up to now."""

    deaths: int = 0
    barren: int = 0  # failed processes in a row without progress
    retired: bool = False

    def ended(self, status: int, made_progress: bool, *, time_left: bool, work_left: bool) -> Next:
        """Count a process that ended with this exit status; return what to do next.

        ``work_left`` says whether failures wait for reduction, also after the time is up. Status 0 after the time is up is a normal end.
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
    """Return whether the process ended too early: with an error, or before its time was up."""
    return status != 0 or time_left
