"""The real thing: a Celery worker in a process of its own, as the role that a worker has."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.usage.ledger import eventually, open_books, pending, rows, sums
from tests.world import make_event

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "celery", "-A", "finops", "worker", "--pool", "solo", "--loglevel", "error",
           "--without-gossip", "--without-mingle", "--without-heartbeat"]  # fmt: skip


@contextmanager
def worker() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "FINOPS_PROCESS": "worker"}
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        try:
            yield running
        finally:
            running.terminate()


def test_a_worker_takes_the_hint_that_ingestion_sends() -> None:
    books = open_books()
    with worker() as running:
        assert books.api.send(make_event(run_id="r"))["accepted"] == 1
        assert len(pending(books.org)["usage_delta"]) == 1
        eventually(lambda: running.poll() is not None or rows("usage_rollupstate", books.org))
        assert running.returncode is None, running.communicate()[0]
    assert not any(pending(books.org).values())
    assert sums("usage_hourrollup", books.org)["events"] == 1
