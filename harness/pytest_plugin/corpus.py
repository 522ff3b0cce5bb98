"""The corpus of a run of pytest, named by an environment variable, so that every process of the run reads it."""

from __future__ import annotations

import os
from pathlib import Path

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.environment import CORPUS_VARIABLE


def cases_of_run() -> list[Case]:
    """Return the cases of the file that ``--moe-corpus`` or MOEFUZZ_CORPUS names; none without it. Raises BadCorpus."""
    from moefuzz.harness.campaign.corpus import read_corpus

    file = os.environ.get(CORPUS_VARIABLE)
    return read_corpus(Path(file)) if file else []
