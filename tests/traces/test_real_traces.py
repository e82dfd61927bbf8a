"""Real traces, whole, through the public API of a real server."""

import io
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from apps.core.money import sum_usd
from apps.core.periods import next_month
from apps.core.tenancy import tenant
from apps.reports import sql
from apps.usage.services import reconcile, roll_up
from bench.site import Site, serving
from tests.database import as_worker
from tests.world import Tenant, make_tenant

DATA = Path(__file__).parents[3] / "shared" / "data"
TRACES = {"agent_calls.csv.gz": 27_160, "resampled_events_deepseek_r1.csv.gz": 224_346}
SHIFT_TO = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

pytestmark = pytest.mark.xdist_group("traces")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(workers=2, threads=2) as running:
        yield running


@pytest.mark.parametrize("name", TRACES)
def test_every_call_is_counted_once_and_to_the_last_decimal(site: Site, name: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there: the full traces lie beside the project, not in it")
    acme = make_tenant("traces")
    sent = replay(site, acme, name)
    assert sent == {"accepted": TRACES[name], "duplicates": 0, "conflicts": 0, "rejected": 0}
    before = totals(acme)
    assert before["spend"]["events"] == TRACES[name]

    with as_worker():
        assert roll_up(acme.org) > 0
        assert reconcile(acme.org).differences == []
    assert totals(acme) == before

    sent = replay(site, acme, name)
    assert sent == {"accepted": 0, "duplicates": TRACES[name], "conflicts": 0, "rejected": 0}
    assert totals(acme) == before
    assert Decimal(before["spend"]["cost_usd"]) == before["raw"] == before["statements"]


def replay(site: Site, acme: Tenant, name: str) -> dict[str, int]:
    """The counts that the command reports."""
    out = io.StringIO()
    call_command(
        "replay", str(DATA / name), url=site.url, key=acme.api.secret, shift_to=SHIFT_TO.isoformat(), stdout=out,
        stderr=io.StringIO(),
    )  # fmt: skip
    return {
        word: int(count.replace(",", ""))
        for word, count in re.findall(r"(accepted|duplicates|conflicts|rejected) ([\d,]+)", out.getvalue())
    }


def totals(acme: Tenant) -> dict[str, Any]:
    """The same total from /spend, from raw events and from the statements."""
    start, end = SHIFT_TO - timedelta(days=36), SHIFT_TO + timedelta(minutes=1)
    spend = acme.api.get("spend", **{"from": start.isoformat(), "to": end.isoformat()}).json()["total"]
    with tenant(acme.org):
        events = sql.FacetRanges("", rest=[(start, end)])
        raw = sql.sum_facet(acme.org.pk, sql.Asked((), {}, (), 1, 0), ranges=events, timeout_ms=0).total
    months: list[date] = [start.date().replace(day=1)]
    while next_month(months[-1]) <= end.date():
        months.append(next_month(months[-1]))
    found = [one for month in months for one in acme.api.get("statements", month=f"{month:%Y-%m}").json()["data"]]
    return {
        "spend": spend,
        "raw": raw.sums[sql.SHOWN.index("cost_usd")],
        "statements": sum_usd(Decimal(one["total_usd"]) for one in found),
    }
