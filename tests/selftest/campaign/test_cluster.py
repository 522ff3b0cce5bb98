"""Several hosts: examples through a Redis server, workers as actors of Ray; both real, and both killed."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from moefuzz.harness.campaign import example_database
from moefuzz.harness.campaign.example_database import CannotShare, SharedExamples, database_of
from moefuzz.harness.campaign.ray_cluster import Cluster, Keeper
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.campaign.settings import RunSettings
from moefuzz.harness.cli import commands
from moefuzz.harness.report.folder import Report, read_all

LEAVES = "moefuzz.harness.planted.faults:leaves_empty_expert_dw_unwritten"


def test_what_cannot_be_used_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for option, package in (("--share=redis://127.0.0.1:1/0", "redis"), ("--cluster", "ray")):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        done = CliRunner().invoke(commands.app, ["fuzz", "--time", "1s", "--run", str(tmp_path), option, "-t", LEAVES])
        assert done.exit_code == 2 and f"pip install 'moefuzz[{package}]'" in done.stderr and done.stderr.count("\n") == 1


def test_a_folder_that_an_actor_does_not_see_is_named(tmp_path: Path) -> None:
    assert "must lie where every host sees it" in Keeper(str(tmp_path / "elsewhere"), "a").place()


class Server:
    """A Redis server of this test."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.url = folder, f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                database_of(self.url, now=True)
            except CannotShare:
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    pytest.importorskip("redis", reason="needs the package redis: pip install 'moefuzz[redis]'")
    if shutil.which("redis-server") is None:
        pytest.skip("needs Debian's redis-server")
    made = Server(tmp_path)
    yield made
    made.kill()


def examples(url: str) -> SharedExamples:
    return SharedExamples(example_database._redis(url, now=False), "t", "any")


@pytest.mark.heavy
def test_an_example_reaches_another_process_through_redis_and_a_killed_server_loses_no_run(server: Server) -> None:
    here, there = examples(server.url), examples(server.url)
    here.keep(b"one")
    assert list(there.fetch(b"any test")) == [b"one"]
    server.kill()
    here.keep(b"two")
    assert list(there.fetch(b"any test")) == []
    with pytest.raises(CannotShare, match="does not answer"):
        database_of(server.url, now=True)
    server.start()
    here.keep(b"three")
    assert {b"one", b"three"} <= set(there.fetch(b"any test"))


@pytest.mark.heavy
def test_actors_have_gpus_of_their_own_and_one_that_is_killed_starts_again(tmp_path: Path) -> None:
    ray: Any = pytest.importorskip("ray", reason="needs the package ray: pip install 'moefuzz[ray]'")
    ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    try:
        run, asked = RunFolder(tmp_path), RunSettings((LEAVES,), 45.0, isolate=False)
        run.started(asked.said("test"))
        cluster = Cluster(ray, run, None, asked.seconds, asked.targets)
        killed: list[str] = []

        def look() -> None:
            workers = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in (one.info["cmdline"] or [])]
            if len(workers) == 2 and not killed and all((tmp_path / "events" / f"ray-{i}.ndjson").exists() for i in (0, 1)):
                actor = workers[0].parent()
                assert actor is not None and "Keeper" in " ".join(actor.cmdline())
                killed.append(workers[0].environ()["CUDA_VISIBLE_DEVICES"] + workers[1].environ()["CUDA_VISIBLE_DEVICES"])
                actor.kill()

        assert len(cluster.names) == 2 and cluster.watch(look) == 0
    finally:
        ray.shutdown()
    assert sorted(killed[0]) == ["0", "1"], "each on a GPU of its own"
    events = [json.loads(line) for file in (tmp_path / "events").glob("*.ndjson") for line in file.read_text().splitlines()]
    assert sum(event["kind"] == "died" for event in events) == 1
    assert sum(event["kind"] == "started" for event in events) == 3
    (report,) = read_all(tmp_path / "reports")
    assert isinstance(report, Report) and report.tensor == "dW"
