"""A month of 10,000,000 calls, of rollups that a script made: its statements drafted, and written as FOCUS."""

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.worker import in_worker

DAYS, GROUPS_A_DAY, EVENTS_A_GROUP = 30, 2_000, 167
SINCE = datetime(2026, 9, 1, tzinfo=UTC)
# Three in four groups cost what the rates of the day make of them; the rest are apportioned.
MAKE = """
INSERT INTO usage_dayrollup (organization_id, day_start, booked_month, grain, team, team_id, project, project_id,
    workflow, workflow_id, task_type, provider, model, service_tier, environment, key_id, status, priced, events,
    input_tokens, cache_read_tokens, output_tokens, reasoning_tokens, cost_usd, cache_write_5m_tokens,
    cache_write_1h_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, requests,
    images, audio_milliseconds, characters, searches, audio_cache_read_tokens, image_cache_read_tokens,
    video_milliseconds, file_searches, code_sessions, pages, unpriced_events, errors, retries, escalations,
    input_events, ln_input_micro, ln_input_sq_pico)
SELECT %(org)s, %(since)s + make_interval(days => day), %(month)s, md5(day || '.' || g)::uuid, 'team-' || g %% 20,
    g %% 20, 'project-' || g %% 60, g %% 60, 'workflow-' || g, g, 'task-' || g %% 7, 'anthropic', 'claude-sonnet-4-5',
    NULL, 'env-' || g %% 3, g %% 11, 'ok', true, %(events)s, 1000 + g, 5000 + g, 300 + g, g,
    ((1000 + g) * 3 + (5000 + g) * 0.3 + (300 + 2 * g) * 15 + CASE g %% 4 WHEN 0 THEN 1 ELSE 0 END) / 1000000.0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
FROM generate_series(0, %(days)s - 1) AS day, generate_series(1, %(groups)s) AS g
"""


def measure(secret: str) -> Iterator[dict[str, Any]]:
    in_worker(_make, secret)
    events = DAYS * GROUPS_A_DAY * EVENTS_A_GROUP
    in_worker(_draft, secret)
    for name, seconds in json.loads(_told().read_text()).items():
        detail = f"{events} events in {DAYS * GROUPS_A_DAY} groups, 2,000 lines on 20 statements; aim: under 2 s"
        yield {"name": f"statement_draft_{name}", "value": round(seconds, 2), "unit": "s", "detail": detail}
    seconds = in_worker(_write, secret)
    found = json.loads(_told().read_text())
    megabytes = found["bytes"] / 2**20
    detail = f"{found['rows']} rows, {megabytes:.0f} MiB, {events} events in {DAYS * GROUPS_A_DAY} groups; aim: 20,000"
    yield {"name": "focus_rows", "value": round(found["rows"] / seconds), "unit": "rows/s", "detail": detail}
    detail = "what writing it added to the process; of a twentieth of the days: the next"
    yield {"name": "focus_memory", "value": found["grown_mib"], "unit": "MiB", "detail": detail}
    in_worker(_write_little, secret)
    few = json.loads(_told().read_text())
    detail = f"{few['rows']} rows"
    yield {"name": "focus_memory_of_little", "value": few["grown_mib"], "unit": "MiB", "detail": detail}


def _told() -> Path:
    return Path(tempfile.gettempdir()) / "finops-bench-focus.json"


def _make(org: Any) -> None:
    from django.db import connection

    from bench import statements as store

    values = {
        "org": org.pk, "since": SINCE, "month": SINCE.date(), "events": EVENTS_A_GROUP, "days": DAYS,
        "groups": GROUPS_A_DAY,
    }  # fmt: skip
    with store.tenant(org), connection.cursor() as cursor:
        cursor.execute(MAKE, values)


def _draft(org: Any) -> None:
    from apps.reports.drafts import drafts

    taken = {}
    # The first finds the catalog of prices not loaded, as a process does once.
    for name, team, part in (("first", None, 1), ("all", None, 1), ("one", "team-1", 20)):
        began = time.monotonic()
        found = drafts(org, SINCE.date(), at=SINCE + timedelta(days=40), team=team)
        taken[name] = time.monotonic() - began
        assert sum(one.events for one in found) * part == DAYS * GROUPS_A_DAY * EVENTS_A_GROUP
    _told().write_text(json.dumps(taken))


def _write(org: Any, days: int = DAYS) -> None:
    from apps.reports import focus_files
    from bench import statements as store

    question = store.SpendQuestion(start=SINCE, end=SINCE + timedelta(days=days))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryFile() as out:
        written = focus_files.write(org, question, out)
        size = out.tell()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    _told().write_text(json.dumps({"rows": written.rows, "bytes": size, "grown_mib": round(grown, 1)}))


def _write_little(org: Any) -> None:
    _write(org, DAYS // 20)
