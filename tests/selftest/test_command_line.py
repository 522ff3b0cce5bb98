"""The command line: fast where nothing runs, and one clear line for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "triton", "numpy", "transformers", "hypothesis", "matplotlib", "jinja2", "huggingface_hub")
WITHOUT_A_RUN = """
import sys
from typer.testing import CliRunner
from moefuzz.harness.cli import app

for status, words in ((0, "--help"), (0, "-V"), (0, "fuzz --help"), (2, "fuzz --tme 5s"), (2, "fuzz --time soon"), (0, "models")):
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == status, (words, done.output)
for words, completed in (("fuzz -t transformers_b", "transformers_batched_mm"), ("report 0", "01234567"), ("replay 0", "01234567")):
    asked = {"_MOEFUZZ_COMPLETE": "complete_bash", "COMP_WORDS": f"moefuzz {words}", "COMP_CWORD": str(len(words.split()))}
    done = CliRunner().invoke(app, prog_name="moefuzz", env=asked)
    assert done.output.split() == [completed], (words, done.output)
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_help_versions_completion_and_wrong_options_wait_for_no_torch(tmp_path: Path) -> None:
    report = tmp_path / "moefuzz-reports" / "01234567" / "case.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"kind": "Crash", "target": "theirs"}))
    command = [sys.executable, "-c", WITHOUT_A_RUN, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)  # noqa: S603
    assert (done.stdout, done.stderr) == ("[]\n", "")
