"""The corpus of a run of pytest: its file is in the environment, so that every process of the run finds it."""

from __future__ import annotations

import os
from pathlib import Path

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.environment import CORPUS_VARIABLE


def cases_of_run() -> list[Case]:
    """The cases of the file that ``--moe-corpus`` or MOEFUZZ_CORPUS names; none without it. Raises BadCorpus."""
    from moefuzz.harness.campaign.corpus import read_corpus

    file = os.environ.get(CORPUS_VARIABLE)
    return read_corpus(Path(file)) if file else []
