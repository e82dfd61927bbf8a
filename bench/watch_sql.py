"""Readings, rollups and runs as a month of many workflows leaves them, written by Postgres itself."""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection, connections

# Of workflow w, by hashes: volume and noise of its own, the same whenever it is run.
_NOISE = "(abs(hashtext(w::text || ':' || d::text)) %% 1000 / 1000.0 - 0.5)"


def fill(org_id: int, hour: datetime, *, workflows: int, days: int, hours: int, runs: int, away: int) -> None:
    """The first `away` workflows loop three times as long in the last day. Rows lie in the order of their hours, as
    they arrive; live ones begin with a day, and the days that are over have their rollups.
    """
    today = hour.replace(hour=0)
    start = (hour - timedelta(hours=hours)).replace(hour=0)
    hours = round((hour - start) / timedelta(hours=1))
    values: dict[str, Any] = {
        "org": org_id, "workflows": workflows, "days": days, "first": today - timedelta(days=days),
        "from": start, "hours": hours, "runs": runs, "away": away, "recent": hours - 24, "today": today,
    }  # fmt: skip
    with connection.cursor() as cursor:
        for statement in (_READINGS, _WHOLE, _ROLLUPS, _DAYS, _RUNS):
            cursor.execute(statement, values)


def analyze() -> None:
    """Statistics of what was filled in, which autovacuum gathers where rows come in their own time. As the owner."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE insights_reading, usage_hourrollup, usage_dayrollup, usage_run")


_READINGS = f"""
  INSERT INTO insights_reading (organization_id, day_start, workflow, team, project, unattributed_usd, checksum,
    hour_micros, bands, events, input_tokens, cache_read_tokens, output_tokens, input_events, ln_input_micro,
    ln_input_sq_pico, cost_usd, runs, succeeded_runs, run_usd, step_runs, steps, steps_sq, ln_steps_micro,
    ln_steps_sq_pico, cost_runs, cost_runs_usd, ln_cost_micro, ln_cost_sq_pico, judged_cost_runs, judged_cost_usd,
    ln_judged_micro, ln_judged_sq_pico,
    retries, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, write_events, unpriced_events,
    unpriced_tokens, escalated_runs, escalated_usd, capped_runs, failed_runs, dead_usd, slope_runs, ln_slope_micro,
    ln_slope_sq_pico)
  SELECT %(org)s, %(first)s + d * interval '1 day', 'w' || lpad(w::text, 5, '0'), 't' || w %% 50, 'p' || w %% 200, 0, 0,
    array_fill(6000000::bigint, ARRAY[24]), '{{}}', 144, 300000, 100000, 30000, 144,
    round(144 * (7900000 + 40000 * {_NOISE})), round(144 * (62.5e12 + 6e11 * {_NOISE})), 144, 48, 46, 144, 48, 144, 500,
    round(48 * (1050000 + 60000 * {_NOISE})), round(48 * 1.25e12), 48, 144, round(48 * (1060000 + 60000 * {_NOISE})),
    round(48 * 1.3e12), 48, 144, round(48 * (1060000 + 60000 * {_NOISE})), round(48 * 1.3e12),
    abs(hashtext(w || 'r' || d)) %% 4, 0, 0, 0, 0, 0, 0, abs(hashtext(w || 'e' || d)) %% 5, 0, 0, 2, 6, 48,
    round(48 * (6300000 + 60000 * {_NOISE})), round(48 * 40e12)
  FROM generate_series(0, %(workflows)s - 1) AS w, generate_series(0, %(days)s - 1) AS d
"""
_WHOLE = """
  INSERT INTO insights_reading (organization_id, day_start, workflow, unattributed_usd, checksum, hour_micros, bands,
    events, cost_usd, input_tokens, cache_read_tokens, output_tokens, retries, cache_write_5m_tokens,
    cache_write_1h_tokens, reasoning_tokens, write_events, input_events, ln_input_micro, ln_input_sq_pico,
    unpriced_events, unpriced_tokens, runs, escalated_runs, escalated_usd, capped_runs, failed_runs, succeeded_runs,
    run_usd, dead_usd, step_runs, steps, steps_sq, ln_steps_micro, ln_steps_sq_pico, slope_runs, ln_slope_micro,
    ln_slope_sq_pico, cost_runs, cost_runs_usd, ln_cost_micro, ln_cost_sq_pico, judged_cost_runs, judged_cost_usd,
    ln_judged_micro, ln_judged_sq_pico)
  SELECT %(org)s, %(first)s + d * interval '1 day', '', 0, 0, array_fill(30000000000::bigint, ARRAY[24]), '{}',
    720000, 720000, 1500000000, 500000000, 150000000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
  FROM generate_series(0, %(days)s - 1) AS d
"""
_ROLLUPS = """
  INSERT INTO usage_hourrollup (organization_id, hour_start, day_start, booked_month, grain, team, team_id, project,
    project_id, workflow, workflow_id, provider, model, key_id, status, priced, events, input_tokens, cache_read_tokens,
    output_tokens, input_events, ln_input_micro, ln_input_sq_pico, cost_usd, cache_write_5m_tokens,
    cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens,
    image_output_tokens, requests, images, audio_milliseconds, characters, searches, audio_cache_read_tokens,
    image_cache_read_tokens, video_milliseconds, file_searches, code_sessions, pages, unpriced_events, errors, retries,
    escalations)
  SELECT %(org)s, %(from)s + h * interval '1 hour', date_trunc('day', %(from)s + h * interval '1 hour'),
    date_trunc('month', %(from)s)::date, md5(w || ':' || h)::uuid, 't' || w %% 50, 1, 'p' || w %% 200, 1,
    'w' || lpad(w::text, 5, '0'), w + 1, 'anthropic', 'claude-sonnet-4-5', 1, 'ok', true,
    6 * k, 12500 * k, 4200 * k, 1250 * k, 6 * k, 47400000 * k, 375e12 * k, 6 * k, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, abs(hashtext(w || 'q' || h)) %% 16 / 15, 0
  FROM generate_series(0, %(workflows)s - 1) AS w, generate_series(0, %(hours)s - 1) AS h,
    LATERAL (SELECT CASE WHEN w < %(away)s AND h >= %(recent)s THEN 3 ELSE 1 END AS k) AS times
  ORDER BY h, w
"""
_OF = "organization_id, day_start, booked_month, team, team_id, project, project_id, workflow, workflow_id, provider, \
model, key_id, status, priced"
_SUMS = (
    "events", "input_tokens", "cache_read_tokens", "output_tokens", "input_events", "ln_input_micro",
    "ln_input_sq_pico", "cost_usd", "cache_write_5m_tokens", "cache_write_1h_tokens", "reasoning_tokens",
    "audio_input_tokens", "audio_output_tokens", "image_input_tokens", "image_output_tokens", "requests", "images",
    "audio_milliseconds", "characters", "searches", "audio_cache_read_tokens", "image_cache_read_tokens",
    "video_milliseconds", "file_searches", "code_sessions", "pages", "unpriced_events", "errors", "retries",
    "escalations",
)  # fmt: skip
_DAYS = f"""
  INSERT INTO usage_dayrollup ({_OF}, grain, {", ".join(_SUMS)})
  SELECT {_OF}, md5(workflow)::uuid, {", ".join(f"sum({name})" for name in _SUMS)} FROM usage_hourrollup
  WHERE organization_id = %(org)s AND day_start < %(today)s GROUP BY {_OF}
"""
_RUNS = """
  INSERT INTO usage_run (organization_id, run_id, team, team_id, project, project_id, workflow, workflow_id, first_at,
    first_event_id, last_at, outcome, outcome_at, outcome_event_id, steps, slope_n, slope_step, slope_step_sq,
    slope_input, slope_step_input, events, cost_usd, input_tokens, cache_read_tokens, output_tokens, escalations,
    retries, errors, unpriced_events, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens,
    audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, requests, images,
    audio_milliseconds, characters, searches, audio_cache_read_tokens, image_cache_read_tokens, video_milliseconds,
    file_searches, code_sessions, pages, input_events, ln_input_micro, ln_input_sq_pico)
  SELECT %(org)s, 'r' || w || '-' || h || '-' || n, 't' || w %% 50, 1, 'p' || w %% 200, 1,
    'w' || lpad(w::text, 5, '0'), w + 1, %(from)s + h * interval '1 hour' + n * interval '20 minutes', 'e',
    %(from)s + h * interval '1 hour' + n * interval '21 minutes', 'success', now(), 'e', s, s, s * (s - 1) / 2,
    (s - 1) * s * (2 * s - 1) / 6, 2000 * s + 270 * s * (s - 1),
    1000 * s * (s - 1) + 180 * (s - 1) * s * (2 * s - 1) / 2,
    s, s, 6000, 2000, 600, (abs(hashtext(w || 'x' || h || n)) %% 25 = 0)::int, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0
  FROM generate_series(0, %(workflows)s - 1) AS w, generate_series(0, %(hours)s - 1) AS h,
    generate_series(0, %(runs)s - 1) AS n,
    LATERAL (SELECT (CASE WHEN w < %(away)s AND h >= %(recent)s THEN 3 ELSE 1 END)
      * (2 + abs(hashtext(w || 's' || h || n)) %% 3) AS s) AS size
  ORDER BY h, n, w
"""
