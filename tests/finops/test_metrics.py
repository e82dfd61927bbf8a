"""/metrics: who may read it, that Prometheus can, what it counts, and that it holds nothing of any organization."""

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from celery.signals import task_failure
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.urls import URLPattern, get_resolver
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from redis.exceptions import ConnectionError as NoRedis

from apps.alerts import measures as alerts_measures
from apps.alerts.channels import create_channel, send_test
from apps.budgets import counting
from apps.budgets import measures as budgets_measures
from apps.core import deadline
from apps.core.metrics import COUNTERS, HISTOGRAMS, STATES
from apps.core.middleware import METHODS
from apps.core.tenancy import CUT_AFTER_SECONDS
from apps.usage import measures as usage_measures
from apps.usage import services as usage
from apps.usage import tasks
from bench.site import serving
from finops import figures, watching
from finops.env import env_secret
from tests.api.test_decisions_outage import hanging_backend
from tests.database import as_worker
from tests.finops.reading import TOKEN, Figures, now, scrape
from tests.portal.conftest import client_of
from tests.world import World, make_event, unique


@pytest.fixture(autouse=True)
def token(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


# --- the door ---


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ключ"])
def test_it_is_closed_without_the_token(sent: str) -> None:
    response = Client().get("/metrics", headers={"Authorization": sent} if sent else {})
    assert (response.status_code, response.content) == (401, b"")
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_the_token_opens_it() -> None:
    response = scrape()
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain")
    assert "no-store" in response["Cache-Control"]


def test_it_is_only_read() -> None:
    assert Client().post("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 405


@pytest.mark.parametrize(
    ("embedded", "extra", "status"),
    [
        (False, {}, 404),
        (True, {}, 200),
        (True, {"REMOTE_ADDR": "::1"}, 200),
        (True, {"REMOTE_ADDR": "10.0.0.7"}, 404),
        (True, {"REMOTE_ADDR": "unix:"}, 404),
        # A proxy on this machine hands on what comes from anywhere.
        (True, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, 404),
        (True, {"HTTP_FORWARDED": "for=127.0.0.1"}, 404),
    ],
)
def test_without_a_token_only_an_embedded_site_answers_its_own_machine(
    settings: Any, embedded: bool, extra: dict[str, str], status: int
) -> None:
    settings.METRICS_TOKEN, settings.EMBEDDED = "", embedded
    assert Client().get("/metrics", **extra).status_code == status


def test_a_token_that_can_be_guessed_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_TOKEN", "short")
    with pytest.raises(ImproperlyConfigured, match="5 characters: write a random text of 16 or more"):
        env_secret("METRICS_TOKEN", default="", length_min=16)


# --- the exposition ---


def test_every_figure_is_described_and_can_be_parsed(world: World) -> None:
    world.acme.api.send(make_event())
    text = scrape().content.decode()
    for name in [one.name for one in (*HISTOGRAMS, *COUNTERS, *STATES)]:
        assert f"# TYPE {name}" in text, name
    assert Figures(text).samples
    response = scrape(Accept="application/openmetrics-text; version=1.0.0")
    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert [family.name for family in openmetrics(response.content.decode())]


def routes(patterns: Any, namespace: str = "") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            if pattern.name:
                yield namespace + pattern.name
        else:
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from routes(pattern.url_patterns, inner)


LABELS = {
    "method": {*METHODS, "other"},
    "status": {"1xx", "2xx", "3xx", "4xx", "5xx"},
    "outcome": {"allow", "downgrade", "deny", "success", "failure", "retry", "killed", "agrees", "differs"},
    "result": {"accepted", "duplicate", "conflict", "rejected"},
    "proof": {"usage", "budgets"},
    "queue": {"long", "prompt", "alerts"},
    "store": {"redis", "postgres"},
    "state": {"active", "suspended", "closing", "closed"},
    "role": {"finops_app", "finops_worker", "finops_owner", "other"},
    "app": {"usage", "budgets", "alerts"},
}


def test_labels_have_closed_lists_of_values_whatever_is_asked(world: World) -> None:
    client, slug = client_of(world.alice), world.acme.org.slug
    for path in ("", "events", "events/an-id", "audit", "no-such-page", "%00", "budgets/999"):
        client.get(f"/o/{slug}/{path}")
        client.get(f"/o/{unique('nobody')}/{path}")
        client.generic("BREW", f"/o/{slug}/{path}")
    for path in ("nothing", f"keys/{unique('id')}", "statements/2026-11:search"):
        world.acme.api.get(path)
    Client().get(f"/{unique('anything')}")
    Client().get(f"/static/{unique('file')}.css")
    text = scrape().content.decode()
    assert slug not in text
    known = {*routes(get_resolver().url_patterns), "none", "static"}
    for name, labels in Figures(text).samples:
        for label, value in labels:
            if label == "route":
                assert value in known, (name, value)
            elif label not in ("le", "task"):
                assert value in LABELS[label], (name, label, value)


def test_requests_are_counted_by_route(world: World) -> None:
    def count(**labels: str) -> float:
        return now()("finops_request_seconds_count", **labels)

    names = {"route": "api:teams", "method": "GET", "status": "2xx"}
    before, refused = count(**names), count(route="api:teams", status="4xx")
    for number in range(3):
        world.acme.api.get("teams")
        assert count(**names) == before + number + 1
    Client().get("/api/v1/teams")
    assert count(route="api:teams", status="4xx") == refused + 1
    wanted = {("route", "api:teams"), ("method", "GET"), ("status", "2xx")}
    buckets = [
        value for (name, labels), value in now().samples.items() if name.endswith("_bucket") and wanted <= set(labels)
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == before + 3


def test_events_and_decisions_are_counted_by_what_became_of_them(world: World) -> None:
    api, before = world.acme.api, now()
    event = make_event()
    api.send(event, event, make_event(), {"event_id": "no"})
    api.post("events", [{**event, "model": "another"}])
    body = {"request_id": unique("r"), "provider": "anthropic", "model": "claude-sonnet-4-5", "estimate_usd": "0.01"}
    assert api.ask("decisions", body).json()["decision"] == "allow"
    api.post("budgets", {"name": "b", "period": "month", "mode": "block", "amount_usd": "0.000001"})
    assert api.ask("decisions", {**body, "request_id": unique("r")}).json()["decision"] == "deny"
    after = now()

    def more(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert {one: more("finops_events_total", result=one) for one in LABELS["result"]} == {
        "accepted": 2, "duplicate": 1, "conflict": 1, "rejected": 1,
    }  # fmt: skip
    assert more("finops_decisions_total", outcome="allow") == more("finops_decisions_total", outcome="deny") == 1


def test_what_threads_ask_of_the_pool_is_counted(world: World) -> None:
    before = now()("finops_database_pool_requests_total")
    connection.close()
    world.acme.api.get("teams")
    assert now()("finops_database_pool_requests_total") == before + 1


def test_proofs_are_counted(world: World) -> None:
    before = now()
    usage.reconcile(world.acme.org)
    counting.reconcile(world.acme.org)
    after = now()
    for proof in ("usage", "budgets"):
        name = {"proof": proof, "outcome": "agrees"}
        assert after("finops_reconciliations_total", **name) == before("finops_reconciliations_total", **name) + 1


def test_a_run_that_was_killed_is_counted_by_the_worker_that_notices() -> None:
    names = {"task": "usage.sweep", "outcome": "killed"}
    before = now()("finops_task_seconds_count", **names)
    task_failure.send(sender=tasks.sweep, task_id=unique("gone"))
    assert now()("finops_task_seconds_count", **names) == before + 1


def test_a_tick_of_beat_is_noted_and_a_hint_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.continue_reratings.apply_async()
    assert now()("finops_beat_tick_timestamp_seconds", task="usage.continue_reratings") == 0
    monkeypatch.setattr(watching, "_is_beat", True)
    tasks.continue_reratings.apply_async()
    assert now()("finops_beat_tick_timestamp_seconds", task="usage.continue_reratings") > time.time() - 60


# --- what waits ---


def test_what_waits_is_measured(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    org, api = world.acme.org, world.acme.api
    with as_worker():
        usage_measures.measure()
    before = now()
    an_hour_ago = time.time_ns() - 3600 * 10**9
    with monkeypatch.context() as patch:
        patch.setattr("apps.core.ids.time.time_ns", lambda: an_hour_ago)
        api.send(make_event())
    body = {"request_id": unique("r"), "provider": "anthropic", "model": "claude-sonnet-4-5", "estimate_usd": "0.01"}
    api.ask("decisions", body)
    channel = create_channel(org=org, actor=None, kind="webhook", name=unique("c"), target="https://93.184.215.14/hook")
    send_test(org=org, channel_id=channel.pk, actor=None)
    with as_worker():
        for measures in (usage_measures, budgets_measures, alerts_measures):
            measures.measure()
    found = now()
    assert found("finops_deltas_pending") == before("finops_deltas_pending") + 1
    assert found("finops_deltas_oldest_seconds") >= 3600
    assert found("finops_reservations_open") >= 1
    assert found("finops_reservations_overdue_seconds") >= 0
    assert found("finops_deliveries_waiting") >= 1
    assert found("finops_measured_timestamp_seconds", app="alerts") == pytest.approx(time.time(), abs=60)
    with as_worker():
        usage.roll_up(org)
        usage_measures.measure()
    assert now()("finops_deltas_pending") == before("finops_deltas_pending")


def test_the_queues_and_the_directory_are_read_when_asked(world: World) -> None:
    found = now()
    assert found("finops_organizations", state="active") >= 2
    assert found("finops_database_connections", role="finops_app") >= 1
    assert found("finops_database_connections_max") > 1
    assert {labels for name, labels in found.samples if name == "finops_queue_messages"} == {
        (("queue", queue),) for queue in LABELS["queue"]
    }
    assert found("finops_up", store="redis") == found("finops_up", store="postgres") == 1


# --- a store that is away ---


def test_without_redis_its_figures_are_missing_and_none_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = now()("finops_request_seconds_count", route="api:teams")

    def away() -> None:
        raise NoRedis("no Redis")

    with monkeypatch.context() as patch:
        patch.setattr(figures, "redis", away)
        world.acme.api.get("teams")
        found = now()
        assert found("finops_up", store="redis") == 0
        assert found("finops_up", store="postgres") == 1
        assert found("finops_request_seconds_count") == 0
    assert now()("finops_request_seconds_count", route="api:teams") == before + 1


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Connections that were cut, `CUT_AFTER_SECONDS` after they were asked: each is how long somebody waited."""
    found: list[object] = []
    cut = deadline._cut
    monkeypatch.setattr(deadline, "_cut", lambda connection: (found.append(connection), cut(connection)))
    return found


def test_a_postgres_that_hangs_takes_its_own_figures_and_no_others(cuts: list[object]) -> None:
    now()
    with hanging_backend():
        found = now()
        # It hangs still: nobody waited for it longer than this.
        assert 0 < len(cuts) * CUT_AFTER_SECONDS < 3
    assert found("finops_up", store="postgres") == 0
    assert found("finops_up", store="redis") == 1
    assert now()("finops_up", store="postgres") == 1


def test_readyz_says_in_time_that_a_postgres_hangs(cuts: list[object]) -> None:
    assert Client().get("/readyz").json() == {
        "status": "ok", "postgres": "ok", "migrations": "ok", "redis": "ok",
    }  # fmt: skip
    with hanging_backend():
        response = Client().get("/readyz")
        assert 0 < len(cuts) * CUT_AFTER_SECONDS < 4
    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable", "postgres": "OperationalError", "migrations": "unknown", "redis": "ok",
    }  # fmt: skip
    assert Client().get("/readyz").status_code == 200


def test_readyz_waits_for_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.api.health._is_migrated", False)
    with monkeypatch.context() as patch:
        patch.setattr("django.db.migrations.recorder.MigrationRecorder.applied_migrations", lambda self: {})
        response = Client().get("/readyz")
        assert (response.status_code, response.json()["migrations"]) == (503, "Unmigrated")
    assert Client().get("/readyz").status_code == 200


def test_healthz_asks_nobody() -> None:
    with hanging_backend():
        assert Client().get("/healthz").json() == {"status": "ok"}


# --- many processes ---


@contextmanager
def two_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("METRICS_TOKEN", TOKEN)
    with serving(workers=2, threads=2) as site:
        yield site


def read(url: str) -> Figures:
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return Figures(answer.read().decode())


def ready(url: str) -> int:
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
        answer.read()
        return answer.status


def test_one_answer_counts_for_every_process_and_outlives_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> float:
        return read(site.url)("finops_request_seconds_count", route="readyz")

    def until(most: float) -> list[float]:
        """What scrapes say, whichever process answers, until all that was asked is seen."""
        seen, deadline = [asked()], time.monotonic() + 20
        while seen[-1] < most and time.monotonic() < deadline:
            time.sleep(0.2)
            seen.append(asked())
        return seen

    with two_processes(monkeypatch) as site:
        before = asked()
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(ready, [site.url] * 60)) == {200}
        seen = until(before + 60)
        assert seen == sorted(seen)
        assert seen[-1] == before + 60
        os.kill(site.workers()[0], signal.SIGKILL)
        time.sleep(1)
        assert until(before + 60)[-1] == before + 60
