"""The real thing: a Celery worker in a process of its own, as the role that a worker has."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from apps.alerts.tasks import hint_tell
from apps.budgets.crossings import undispatched
from apps.budgets.models import Reservation
from apps.budgets.tasks import tend
from apps.core.tenancy import tenant
from tests.alerts.desk import Desk
from tests.alerts.hints import broker
from tests.api.tenants import make_api
from tests.api.test_decisions import age, allowed, budget
from tests.usage.ledger import eventually, open_books, pending, rows, sums
from tests.world import make_event

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "celery", "-A", "finops", "worker", "--pool", "solo", "--loglevel", "error",
           "--without-gossip", "--without-mingle", "--without-heartbeat"]  # fmt: skip


@contextmanager
def worker(queue: str = "long") -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "FINOPS_PROCESS": "worker", "FINOPS_QUEUE": queue}
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


def test_a_hold_ends_and_people_are_told_while_long_work_has_nobody() -> None:
    """Both workers for long work are in a re-rating, as far as these two can see."""
    broker().delete(settings.QUEUES["prompt"], settings.QUEUES["alerts"])
    desk, books = Desk(), open_books()
    books.api.send(make_event())
    budget(desk.org)
    age(desk.org, allowed(make_api(desk.org), estimate_usd="0.25"), 601)
    desk.cross()

    def is_done() -> bool:
        with tenant(desk.org):
            freed = Reservation.objects.for_org(desk.org).get().state == "expired"
            return freed and not undispatched(desk.org).exists()

    with worker("prompt") as prompt, worker("alerts") as alerts:
        tend.delay()
        hint_tell(desk.org.pk)
        eventually(lambda: prompt.poll() or alerts.poll() or is_done())
        assert (prompt.returncode, alerts.returncode) == (None, None)
    assert is_done()
    assert len(pending(books.org)["usage_delta"]) == 1


@pytest.mark.parametrize("queue", settings.QUEUES)
def test_every_queue_has_a_process_in_each_way_to_run_it(queue: str) -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    taking = [name for name, line in lines.items() if "celery -A finops worker" in line
              and (re.findall(r"FINOPS_QUEUE=(\w+)", line) or ["long"]) == [queue]]  # fmt: skip
    assert len(taking) == 1
    assert f"command: [{taking[0]}]" in (ROOT / "docker" / "compose.yaml").read_text()
    assert f"| {taking[0]} " in (ROOT / "docker" / "entrypoint.sh").read_text()
    assert f" {taking[0]} " in (ROOT / "Makefile").read_text().partition("start -p $(PORT) web")[2]
