"""Exports of the explorer: small ones at once, large ones by a worker, for who asked and nobody else."""

import gzip
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.reports import exporting, sheets
from apps.reports.models import Export, ExportPart
from apps.reports.tasks import continue_exports
from apps.teams.services import create_team
from tests.database import as_worker
from tests.portal.conftest import HOSTILE_NAME, Shop, client_of, make_person, make_shop
from tests.portal.files import book_of, rows_of
from tests.portal.reading import get
from tests.reports.focus_rows import read, total
from tests.world import make_event

COST = Decimal("0.0045")
FORMULA = "=HYPERLINK(1)"


@pytest.fixture
def shop() -> Shop:
    shop = make_shop()
    shop.api.send(
        *(make_event(user=f"user-{number:03}") for number in range(120)),
        make_event(user=FORMULA),
        make_event(user=HOSTILE_NAME, model="nobody"),
    )
    return shop


@pytest.fixture
def bob(shop: Shop) -> Client:
    return client_of(shop.bob)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has more than ten rows takes a worker."""
    monkeypatch.setattr(exporting, "AT_ONCE_ROWS_MAX", 10)


@pytest.fixture(autouse=True)
def no_hints(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    hinted: list[int] = []
    monkeypatch.setattr("apps.portal.views.exports.hint_export", hinted.append)
    monkeypatch.setattr("apps.reports.tasks.hint_export", hinted.append)
    return hinted


def ask(client: Client, shop: Shop, query: str = "group_by=user", kind: str = "csv") -> Any:
    return client.post(shop.url("exports"), {"query": query, "format": kind})


def work(shop: Shop) -> bool:
    with as_worker():
        return exporting.work(shop.org)


def stored(shop: Shop) -> list[Export]:
    with tenant(shop.org):
        return list(Export.objects.for_org(shop.org).order_by("pk"))


def body_of(response: Any) -> bytes:
    assert response.status_code == 200
    return b"".join(response.streaming_content) if response.streaming else response.content


# --- at once ---


def test_a_small_file_comes_at_once_with_all_rows(shop: Shop, bob: Client) -> None:
    response = ask(bob, shop)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith('attachment; filename="spend-by-user-')
    rows = rows_of(response.content)
    assert len(rows) == 122
    assert sum(Decimal(row["cost_usd"]) for row in rows if row["cost_usd"]) == 121 * COST
    assert [row["cost_usd"] for row in rows if row["unpriced_events"] == "1"] == [""]
    assert {len(row["cost_usd"]) for row in rows} == {0, len("0.004500000000")}
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())
    assert f"'{FORMULA}" in {row["user"] for row in rows}
    assert stored(shop) == []


def test_a_workbook_has_numbers_exact_texts_totals_and_no_formula(shop: Shop, bob: Client) -> None:
    response = ask(bob, shop, "group_by=user&then_by=model&compare=previous", "xlsx")
    (heading, *rows, total), about = book_of(response.content)
    assert heading[:3] == ["user", "model", "Events"]
    assert heading[-6::2] == ["USD", "Before, USD", "Change, USD"]
    assert heading[-5::2] == ["USD, exact", "Before, USD, exact", "Change, USD, exact"]
    assert (len(rows), total[0], total[2], total[8]) == (122, "Total", "122", "0.544500000000")
    named = {row[0]: row for row in rows}
    assert Decimal(named[FORMULA][7]) == Decimal(named[FORMULA][8]) == COST
    assert "unpriced" in named[HOSTILE_NAME]
    assert ["Organization", shop.org.name] in about


def test_a_file_holds_what_the_page_is_filtered_to(shop: Shop, bob: Client) -> None:
    assert [row["user"] for row in rows_of(ask(bob, shop, "group_by=user&user=user-001").content)] == ["user-001"]
    left = rows_of(ask(bob, shop, "group_by=user&not.user=user-001&not.user=user-002").content)
    assert len(left) == 120
    compared = rows_of(ask(bob, shop, "group_by=user&user=user-001&compare=previous&range=7d").content)
    assert compared[0]["change_usd"] == compared[0]["cost_usd"] == "0.004500000000"


def test_keys_are_called_as_people_call_them(shop: Shop, bob: Client) -> None:
    (row,) = rows_of(ask(bob, shop, "group_by=api_key").content)
    assert "(" in row["api_key"]


def test_a_format_that_is_none_is_refused(shop: Shop, bob: Client) -> None:
    assert ask(bob, shop, kind="pdf").status_code == 400


# --- by a worker ---


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_large_file_is_written_by_a_worker_and_waits(shop: Shop, bob: Client, no_hints: list[int], kind: str) -> None:
    response = ask(bob, shop, kind=kind)
    assert (response.status_code, response["Location"]) == (302, shop.url("exports"))
    assert no_hints == [shop.org.pk]
    waiting = get(bob, shop.url("exports"))
    assert "waits for its turn" in waiting.text
    assert 'hx-trigger="every 2s"' in waiting.html
    assert work(shop)
    assert not work(shop)
    (export,) = stored(shop)
    ready = get(bob, shop.url("exports"))
    assert "122 rows" in ready.text
    assert "every 2s" not in ready.html
    response = bob.get(shop.url(f"exports/{export.pk}"))
    body = body_of(response)
    assert len(body) == export.size_bytes == int(response["Content-Length"])
    assert response["Content-Type"] == sheets.CONTENT_TYPES[kind]
    if kind == "csv":
        assert len(rows_of(body)) == 122
    else:
        assert len(book_of(body)[0]) == 124


@pytest.mark.usefixtures("large")
def test_a_file_is_kept_in_pieces(shop: Shop, bob: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PART_BYTES", 100)
    ask(bob, shop)
    work(shop)
    (export,) = stored(shop)
    with tenant(shop.org):
        sizes = [len(part.body) for part in ExportPart.objects.for_org(shop.org).order_by("number")]
    assert len(sizes) > 10
    assert max(sizes) == 100
    assert len(rows_of(body_of(bob.get(shop.url(f"exports/{export.pk}"))))) == 122


@pytest.mark.usefixtures("large")
def test_it_says_how_far_it_is(shop: Shop, bob: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "ROWS_A_WORD", 50)
    seen: list[str] = []
    hold = exporting._hold

    def watched(*arguments: Any, **progress: int) -> None:
        hold(*arguments, **progress)
        seen.append(get(bob, shop.url("exports")).text)

    monkeypatch.setattr(exporting, "_hold", watched)
    ask(bob, shop)
    assert work(shop)
    assert any("50 of 122 rows" in text for text in seen)
    assert any("100 of 122 rows" in text for text in seen)


@pytest.mark.usefixtures("large")
def test_a_worker_that_died_leaves_its_work_to_the_next(
    shop: Shop, bob: Client, monkeypatch: pytest.MonkeyPatch, no_hints: list[int]
) -> None:
    ask(bob, shop)
    with monkeypatch.context() as dying:
        dying.setattr(sheets, "write", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            work(shop)
    assert [export.state for export in stored(shop)] == ["running"]
    assert not work(shop), "it is somebody's still"
    with time_machine.travel(timezone.now() + exporting.CLAIM + timedelta(seconds=1)):
        no_hints.clear()
        with as_worker():
            continue_exports()
        assert shop.org.pk in no_hints
        assert work(shop)
    (export,) = stored(shop)
    assert (export.state, export.tries) == ("done", 2)
    assert len(rows_of(body_of(bob.get(shop.url(f"exports/{export.pk}"))))) == 122


@pytest.mark.usefixtures("large")
def test_a_worker_whose_claim_ran_out_stores_nothing(shop: Shop, bob: Client) -> None:
    ask(bob, shop)
    with as_worker():
        slow = exporting._claim(shop.org)
        assert slow
        with time_machine.travel(timezone.now() + exporting.CLAIM + timedelta(seconds=1)):
            assert exporting.work(shop.org)
        with pytest.raises(exporting.ClaimLost):
            exporting._produce(shop.org, slow)
    (export,) = stored(shop)
    assert len(rows_of(body_of(bob.get(shop.url(f"exports/{export.pk}"))))) == 122


@pytest.mark.usefixtures("large")
def test_what_fails_three_times_is_given_up(shop: Shop, bob: Client) -> None:
    ask(bob, shop)
    for tries in range(exporting.TRIES_MAX + 1):
        with time_machine.travel(timezone.now() + tries * (exporting.CLAIM + timedelta(seconds=1))), as_worker():
            exporting._claim(shop.org)
    assert [export.state for export in stored(shop)] == ["failed"]
    assert "not finished in 3 tries" in get(bob, shop.url("exports")).text


@pytest.mark.usefixtures("large")
def test_too_many_rows_fail_with_a_way_out(shop: Shop, bob: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "ROWS_MAX", 50)
    ask(bob, shop)
    work(shop)
    assert "It has 122 rows, 50 at most" in get(bob, shop.url("exports")).text


@pytest.mark.usefixtures("large")
def test_files_are_kept_for_a_week(shop: Shop, bob: Client) -> None:
    ask(bob, shop)
    work(shop)
    (export,) = stored(shop)
    with time_machine.travel(timezone.now() + timedelta(days=6)), as_worker():
        continue_exports()
    assert bob.get(shop.url(f"exports/{export.pk}")).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=8)), as_worker():
        continue_exports()
    assert bob.get(shop.url(f"exports/{export.pk}")).status_code == 404
    assert "expired" in get(bob, shop.url("exports")).text
    with tenant(shop.org):
        assert not ExportPart.objects.for_org(shop.org).exists()
    with time_machine.travel(timezone.now() + timedelta(days=40)), as_worker():
        continue_exports()
    assert stored(shop) == []


# --- whose ---


@pytest.mark.usefixtures("large")
def test_who_asked_fetches_it_and_owners_and_nobody_else(shop: Shop, bob: Client) -> None:
    ask(bob, shop)
    work(shop)
    (export,) = stored(shop)
    eve = make_person("eve")
    add_member(org=shop.org, user=eve, role=Role.FINANCE, actor=None)
    path = shop.url(f"exports/{export.pk}")
    assert client_of(eve).get(path).status_code == 404
    assert client_of(eve).post(f"{path}/delete").status_code == 404
    assert "No exports" in get(client_of(eve), shop.url("exports")).text
    assert client_of(shop.alice).get(path).status_code == 200
    assert shop.bob.email in get(client_of(shop.alice), shop.url("exports")).text
    assert bob.post(f"{path}/delete").status_code == 302
    assert stored(shop) == []
    assert bob.get(path).status_code == 404


def test_a_lead_exports_the_team_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for slug in ("search", "growth"):
        create_team(org=shop.org, slug=slug)
        shop.api.send(make_event(team=slug, user=f"of-{slug}"))
    lead = make_person("lead")
    membership = add_member(org=shop.org, user=lead, role=Role.LEAD, teams=["search"], actor=None)
    client = client_of(lead)
    for query in ("group_by=user", "group_by=user&team=growth", "group_by=user&not.team=growth", "group_by=user&team="):
        assert [row["user"] for row in rows_of(ask(client, shop, query).content)] == ["of-search"], query
    monkeypatch.setattr(exporting, "AT_ONCE_ROWS_MAX", 0)
    ask(client, shop)
    work(shop)
    (export,) = stored(shop)
    assert [row["user"] for row in rows_of(body_of(client.get(shop.url(f"exports/{export.pk}"))))] == ["of-search"]
    membership.teams = ["growth"]
    membership.save(update_fields=["teams"])
    assert client.get(shop.url(f"exports/{export.pk}")).status_code == 404
    assert "Spend by user" not in get(client, shop.url("exports")).text


@pytest.mark.usefixtures("large")
def test_there_is_a_limit_of_exports_at_a_time(shop: Shop, bob: Client) -> None:
    for _ in range(exporting.UNFINISHED_MAX):
        assert ask(bob, shop).status_code == 302
    refused = ask(bob, shop)
    assert refused.status_code == 400
    assert "3 exports are being written" in refused.content.decode()
    assert ask(client_of(shop.alice), shop).status_code == 302, "what one person waits for is in nobody's way"
    while work(shop):
        pass
    assert ask(bob, shop).status_code == 302


@pytest.mark.usefixtures("large")
def test_there_is_a_limit_of_files_that_one_person_keeps_and_of_all(
    shop: Shop, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "KEPT_MAX", 1)
    ask(bob, shop)
    work(shop)
    assert "1 exports are kept" in ask(bob, shop).content.decode()
    alice = client_of(shop.alice)
    monkeypatch.setattr(exporting, "KEPT_OF_ALL_MAX", 1)
    assert "Of this organization, 1 exports are kept" in ask(alice, shop).content.decode()
    (kept,) = stored(shop)
    alice.post(shop.url(f"exports/{kept.pk}/delete"))
    assert ask(alice, shop).status_code == 302
    monkeypatch.setattr(exporting, "UNFINISHED_OF_ALL_MAX", 1)
    assert "Of this organization, 1 exports are being written" in ask(bob, shop).content.decode()


# --- FOCUS ---


def ask_focus(client: Client, shop: Shop, days: int = 1, **fields: str) -> Any:
    today = timezone.now().date()
    first = today - timedelta(days=days)
    given = {"format": "focus_csv", "from": first.isoformat(), "to": today.isoformat(), "basis": "occurred", **fields}
    return client.post(shop.url("exports"), given)


def test_a_small_focus_file_comes_at_once(shop: Shop, bob: Client) -> None:
    response = ask_focus(bob, shop)
    assert response["Content-Disposition"].endswith('.focus.csv"')
    assert response["X-Unpriced-Events"] == "1"
    assert total(read(response.content)) == 121 * COST
    assert stored(shop) == []


def test_a_large_focus_file_waits_in_the_tray(shop: Shop, bob: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE_GROUPS_MAX", 0)
    assert ask_focus(bob, shop)["Location"] == shop.url("exports")
    work(shop)
    page = get(bob, shop.url("exports"))
    assert "FOCUS 1.2, " in page.text
    assert "1 calls unpriced" in page.text
    (export,) = stored(shop)
    response = bob.get(shop.url(f"exports/{export.pk}"), headers={"Accept-Encoding": "gzip"})
    assert response["Content-Encoding"] == "gzip"
    assert total(read(gzip.decompress(body_of(response)))) == 121 * COST
    assert total(read(body_of(bob.get(shop.url(f"exports/{export.pk}"))))) == 121 * COST


def test_the_form_begins_with_last_month_and_keeps_what_was_typed(shop: Shop, bob: Client) -> None:
    assert 'id="focus-from" name="from" type="date" value="20' in get(bob, shop.url("exports")).html
    for fields, says in (
        ({"from": "nonsense"}, "is no day"),
        ({"from": "2026-10-09", "to": "2026-10-01"}, "on or after 2026-10-09"),
        ({"from": "2026-10-09", "to": "2026-10-31", "basis": "booked"}, "begins a month"),
        ({"basis": "sideways"}, "is no basis"),
    ):
        response = ask_focus(bob, shop, **fields)
        assert response.status_code == 400, fields
        page = response.content.decode()
        assert says in page
        assert f'value="{fields.get("from", "")}' in page
    assert stored(shop) == []


def test_a_booked_month_is_exported_whole(shop: Shop, bob: Client) -> None:
    month = timezone.now().date().replace(day=1)
    last = (month + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    response = ask_focus(bob, shop, **{"from": month.isoformat(), "to": last.isoformat(), "basis": "booked"})
    assert total(read(response.content)) == 121 * COST


def test_a_lead_exports_the_focus_file_of_the_team_alone(shop: Shop) -> None:
    create_team(org=shop.org, slug="search")
    shop.api.send(make_event(team="search"))
    lead = make_person("lead")
    add_member(org=shop.org, user=lead, role=Role.LEAD, teams=["search"], actor=None)
    rows = read(ask_focus(client_of(lead), shop).content)
    assert {row["SubAccountId"] for row in rows} == {"search"}
    assert total(rows) == COST
