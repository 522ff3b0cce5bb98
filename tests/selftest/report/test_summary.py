"""The page of a long run: whole, self-contained, and nothing in it is obeyed."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from moefuzz.harness.cli import commands
from moefuzz.harness.report.summary import PAGE, write_summary
from moefuzz.harness.run_log.events import Tail, info_of
from moefuzz.harness.run_log.state import RunState
from moefuzz.tests.selftest.support.run_folders import BEGAN, found, reduced, started, turn, write_night, write_run

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}]]>\x00\x1b[2J\ud800"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ENDED = {"at": BEGAN + 10, "worker": "supervisor", "kind": "ended", "why": "interrupted"}
VOID = ("meta", "br", "img", "link", "hr", "input")


class Page(HTMLParser):
    """What a browser would be told, with the ends of all elements checked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.ids, self.links = set[str](), list[str](), list[str]()
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.add(tag)
        self.ids += [said["id"] or ""] if "id" in said else []
        self.links += [said["href"] or ""] if tag == "a" else []
        assert not {"src", "srcset", "onload", "onclick"} & said.keys()
        self._open += [tag] if tag not in VOID else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def page_of(run: Path, now: float = BEGAN + 30_000) -> str:
    return write_summary(run, now=now).read_text(encoding="utf-8")


def test_the_page_of_a_night_says_what_was_found_and_needs_no_other_file(tmp_path: Path) -> None:
    page = page_of(write_night(tmp_path, hours=1.0))
    parsed = Page(page)
    assert re.search(r"<h1 class=\"bad\">3 failures, and 1 not reduced, in [\d,]+ examples</h1>", page)
    assert parsed.links == [f"reports/{report}/report.md" for report in ("43ef52a5", "0badcafe", "5eed1e55")]
    assert len(parsed.ids) == len(set(parsed.ids)) and "script" not in parsed.tags and "link" not in parsed.tags
    for said in ("WrongValue of dW", "K &gt; 16", "node1-3", "SIGKILL", "CUDA error 719", "time is up", "moefuzz fuzz --hours 8", "never"):
        assert said in page
    drawn = re.findall(r"<text[^>]*>([^<]+)</text>", page)
    assert {"minutes", "node1-5", "4 more"} <= {text.strip() for text in drawn}, "text is text"
    assert not re.findall(r"url\((?!#)|@import|https?://(?!www\.w3\.org/)", page), "nothing from elsewhere"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events", "reports", "run.json", PAGE]


def test_nothing_that_a_target_says_is_obeyed(tmp_path: Path) -> None:
    bucket = [HOSTILE, HOSTILE, HOSTILE, None]
    shares = {HOSTILE: float("inf")}
    events = [
        started(BEGAN, HOSTILE.replace("/", ""), host=HOSTILE, gpu=HOSTILE), found(BEGAN + 1, bucket=bucket, case=HOSTILE, finding=HOSTILE),
        turn(BEGAN + 2, target=HOSTILE, regime=HOSTILE, shares=shares, covered={HOSTILE: {HOSTILE: 1}}, slowest=[[1, HOSTILE]]),
        *({"at": BEGAN + 3, "worker": worker, "kind": "resources", "rss": 5} for worker in ("$x^$", "_", "神")),
        {"at": BEGAN + 3, "worker": "supervisor", "kind": "died", "of": HOSTILE, "status": 10**9, "restarts": 1},
        *(reduced(BEGAN + 4, bucket=bucket, failure=HOSTILE, needs=[HOSTILE], report=report)
          for report in ("../..", "javascript:x", HOSTILE)),
    ]  # fmt: skip
    events[0]["worker"] = "odd"
    run = write_run(tmp_path / "run", *events, command=HOSTILE, versions=HOSTILE, device=HOSTILE)
    (run / "reports").mkdir()
    (tmp_path / "report.md").touch()  # which the first of the reports would name
    page = page_of(run)
    parsed = Page(page)
    assert "script" not in parsed.tags and parsed.links == [] and "49" not in re.findall(r"&amp;(\d+)", page)
    assert "\x00" not in page and "\x1b" not in page and "over the bound" in page


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ((), "Nothing has run yet"),
        ((started(BEGAN),), "No example was run so far"),
        ((turn(BEGAN + 9),), "Nothing found in 100 examples so far"),
        ((found(BEGAN + 9),), "1 failure, not reduced, in 0 examples so far"),
        ((turn(BEGAN + 9), ENDED), "Nothing found in 100 examples"),
    ],
)  # fmt: skip
def test_the_verdict_is_one_sentence(events: tuple[dict[str, object], ...], says: str, tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, *events), now=BEGAN + 20)
    Page(page)
    assert re.findall("<h1[^>]*>(.*)</h1>", page) == [says]


def test_a_run_of_which_nothing_was_heard_for_long_is_over(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, turn(BEGAN + 9)))
    assert "stopped unexpectedly" in page and '<h1 class="good">Nothing found in 100 examples</h1>' in page


def test_a_report_of_which_no_event_tells_is_linked(tmp_path: Path) -> None:
    run = write_run(tmp_path, turn(BEGAN))
    (run / "reports" / "abad1dea").mkdir(parents=True)
    (run / "reports" / "abad1dea" / "report.md").touch()
    assert Page(page_of(run)).links == ["reports/abad1dea/report.md"]


def test_a_page_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path, turn(BEGAN))
    before = page_of(run)
    monkeypatch.setattr(Path, "chmod", lambda *_: (_ for _ in ()).throw(OSError(28, "no space left on device")))
    with pytest.raises(OSError, match="no space"):
        write_summary(run)
    assert (run / PAGE).read_text() == before and sorted(path.name for path in run.iterdir()) == ["events", "run.json", PAGE]


def test_a_state_that_was_followed_gives_the_same_page(tmp_path: Path) -> None:
    run = write_night(tmp_path, hours=0.1, workers=2)
    state = RunState(info_of(run))
    for event in Tail(run).new():
        state.add(event)
    assert write_summary(run, state, now=BEGAN).read_text() == page_of(run, now=BEGAN)


def test_the_command_names_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, turn(BEGAN))
    with (run / "events" / "node1-0.ndjson").open("a") as file:
        file.write("garbage\n")
    done = CliRunner().invoke(commands.app, ["summary", str(run)])
    assert done.exit_code == 0 and str(run / PAGE) in done.stdout and "1 in node1-0.ndjson; they were skipped" in (run / PAGE).read_text()


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, so no browser saw the page")
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_the_page(dark: bool, tmp_path: Path) -> None:
    from matplotlib.image import imread

    page, picture = write_summary(write_night(tmp_path, hours=0.5), now=BEGAN + 3_000), tmp_path / "page.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'home'}", "--window-size=1200,1600"]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    for wanted in (f"--screenshot={picture}", "--dump-dom"):
        done = subprocess.run([str(CHROMIUM), *flags, wanted, page.as_uri()], capture_output=True, text=True, timeout=100, check=True)  # noqa: S603
    assert done.stdout.count("<article>") == 3 and "WrongValue of dW" in done.stdout and "Error / bound" in done.stdout
    pixels = imread(picture)[..., :3]
    assert (pixels.mean() < 0.3) == dark and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
