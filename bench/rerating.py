"""A price of the past changes under a million events: previewed, posted, and held against plain SQL."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bench.worker import in_worker

# What the contract changes: the input rate of every Claude model, which leaves OpenAI's as they are.
COVERED = "claude-*"
NEW_INPUT_USD_PER_MILLION = "0.75"
NEW_INPUT_RATE = 750_000
STEP_SECONDS = 3600

# (model, booked month) to (events, unpriced events, pico-USD).
Sums = dict[tuple[str, date], tuple[int, int, int]]


def measure(secret: str) -> Iterator[dict[str, Any]]:
    """Re-rates what the organization has stored in the last 60 days; the months before this one are closed first."""
    from apps.organizations.selectors import principal_for

    now = datetime.now(UTC)
    org = principal_for(secret, at=now).organization
    first_open = _close_months(org)
    stored, before, predicted = _sum_events(org), _sum_rollups(org), _predict(org)
    rerating_id = _preview(org, now)
    yield _rate("rerate_preview", secret, org, rerating_id)
    _post(org, rerating_id)
    yield _rate("rerate_post", secret, org, rerating_id)
    in_worker(_settle, secret)

    totals, lines_apart = _outcome(org, rerating_id)
    assert _sum_events(org) == stored, "an event was edited"
    after = _sum_rollups(org)
    changed = {key: _pico_change(before, after, key) for key in before.keys() | after.keys()}
    closed = sum(abs(change) for (_, month), change in changed.items() if month < first_open)
    wrong = sum(abs(_change_of(changed, model) - predicted.get(model, 0)) for model in {model for model, _ in changed})
    yield _exact(
        "rerate_posted_less_preview",
        _pico(totals.posted_usd) - _pico(totals.difference_usd) + lines_apart,
        f"{totals.posted_events} events changed by {totals.posted_usd} USD, line by line",
    )
    yield _exact("rerate_off_plain_sql", wrong, "change of each model's total, against quantities times rates in SQL")
    closed_events = sum(events for (_, month), (events, _, _) in before.items() if month < first_open)
    yield _exact("rerate_closed_months", closed, f"change of the closed months, {closed_events} events in them")


def _exact(name: str, pico_usd: int, detail: str) -> dict[str, Any]:
    assert pico_usd == 0, (name, pico_usd, detail)
    return {"name": name, "value": pico_usd, "unit": "pico-USD", "detail": f"{detail}; aim: 0"}


def _rate(name: str, secret: str, org: Any, rerating_id: Any) -> dict[str, Any]:
    """Run the phase to its end as a worker does."""
    from apps.core.tenancy import tenant
    from apps.usage.rerating import rerating_by_id, totals_of

    seconds = in_worker(_work, secret)
    with tenant(org):
        rerating, totals = rerating_by_id(org, rerating_id), totals_of(org, rerating_id)
    assert rerating.state in ("previewed", "posted"), rerating.state
    detail = f"{rerating.scanned} events looked at, {totals.events} change, one worker"
    return {"name": name, "value": round(rerating.scanned / seconds), "unit": "events/s", "detail": detail}


def _preview(org: Any, now: datetime) -> Any:
    from apps.pricing.agreements import create_contract
    from apps.usage.rerating import start_preview

    since = now - timedelta(days=60)
    create_contract(
        org=org,
        actor="bench",
        kind="price",
        name="an input price of the past",
        provider="anthropic",
        model=COVERED,
        rates={"input_tokens": NEW_INPUT_USD_PER_MILLION},
        starts_at=since,
    )
    until = now + timedelta(days=1)
    return start_preview(org=org, actor="bench", reason="benchmark", start=since, end=until, filters={}).rerating_id


def _post(org: Any, rerating_id: Any) -> None:
    from apps.usage.rerating import post

    post(org=org, rerating_id=rerating_id, actor="bench")


def _outcome(org: Any, rerating_id: Any) -> tuple[Any, int]:
    """The totals, and by how many pico-USD the lines' previews and postings differ, added up without signs."""
    from apps.core.tenancy import tenant
    from apps.usage.rerating import lines_of, totals_of

    with tenant(org):
        lines = list(lines_of(org, rerating_id))
        totals = totals_of(org, rerating_id)
    return totals, sum(abs(_pico(line.after_usd - line.before_usd - line.posted_usd)) for line in lines)


# --- in a process of the worker's role -----------------------------------------------------------------


def _work(org: Any) -> None:
    from apps.usage import repricing

    assert not repricing.work(org, seconds=STEP_SECONDS)


def _settle(org: Any) -> None:
    from bench import statements as store

    store.roll_up(org, turns_max=10_000)
    result = store.reconcile(org)
    assert result.agrees, result


# --- plain SQL -----------------------------------------------------------------------------------------


def _close_months(org: Any) -> date:
    """Close every month before this one; the first open one."""
    import psycopg

    first_open = datetime.now(UTC).date().replace(day=1)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute(
            "UPDATE usage_openmonth SET first_open_month = %s WHERE organization_id = %s", [first_open, org.pk]
        )
    return first_open


def _sum_events(org: Any) -> Sums:
    return _summed(org, "count(*), count(*) FILTER (WHERE cost_usd IS NULL), sum(COALESCE(cost_usd, 0))", "usage_event")


def _sum_rollups(org: Any) -> Sums:
    return _summed(org, "sum(events), sum(unpriced_events), sum(cost_usd)", "usage_dayrollup")


def _summed(org: Any, sums: str, table: str) -> Sums:
    rows = _rows(org, f"SELECT model, booked_month, {sums} FROM {table} WHERE organization_id = %s GROUP BY 1, 2")
    return {(model, month): (int(events), int(unpriced), _pico(cost)) for model, month, events, unpriced, cost in rows}


def _predict(org: Any) -> dict[str, int]:
    """By how much each covered model's total changes: the difference of two rates, times a sum of quantities."""
    from apps.core.meters import METER_INDEX
    from apps.pricing.selectors import load_catalog

    catalog, index = load_catalog(), METER_INDEX["input_tokens"]
    predicted = {}
    for model, tokens in _rows(
        org,
        "SELECT model, sum(input_tokens)::bigint FROM usage_event"
        " WHERE organization_id = %s AND model LIKE 'claude-%%' GROUP BY 1",
    ):
        price = catalog.find("anthropic", model, "", datetime.now(UTC))
        assert price is not None, model
        predicted[model] = tokens * (NEW_INPUT_RATE - price.base.weights[index])
    return predicted


def _rows(org: Any, sql: str) -> list[Any]:
    from django.db import connection

    from apps.core.tenancy import tenant

    with tenant(org), connection.cursor() as cursor:
        cursor.execute(sql, [org.pk])
        rows: list[Any] = cursor.fetchall()
        return rows


def _pico_change(before: Sums, after: Sums, key: tuple[str, date]) -> int:
    """What was added to the cost; a change of counts is an error."""
    nothing = (0, 0, 0)
    was, now = before.get(key, nothing), after.get(key, nothing)
    assert was[:2] == now[:2], (key, was, now)
    return now[2] - was[2]


def _change_of(changed: dict[tuple[str, date], int], model: str) -> int:
    return sum(change for (name, _), change in changed.items() if name == model)


def _pico(usd: Any) -> int:
    return int(usd.scaleb(12))
