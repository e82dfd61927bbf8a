"""The audit log as people read it: filters, plain words, the state of the chain, downloads."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apps.audit.chain import entry_hash
from apps.organizations.permissions import Role
from apps.organizations.services import issue_key
from apps.portal.audit_words import LINES_MAX, VALUE_LENGTH_MAX, data_lines, did, who, within
from apps.portal.views import audit as views
from tests.audit.fixtures import act, tamper
from tests.portal.conftest import HOSTILE_NAME, client_of, make_shop
from tests.portal.reading import attribute, find, get, text_of
from tests.portal.shop import member


@pytest.fixture
def shop():
    return make_shop("Asia/Kolkata")


@pytest.fixture
def finance(shop):
    return member(shop, Role.FINANCE)


def downloaded(client, url):
    response = client.get(url)
    assert response.status_code == 200
    return response.getvalue().decode()


def lines_of(client, url):
    return [json.loads(line) for line in downloaded(client, url).splitlines()]


def link(page, text):
    return next(attribute(one, "href") for one in page.find("a") if text_of(one) == text)


def test_an_entry_reads_in_plain_words(shop, finance):
    issued = issue_key(org=shop.org, name="gateway", scopes=["ingest"], actor=shop.alice)
    act(shop.org, "Search", actor=f"key:{issued.key.pk}", action="budgets.changed", amount_usd="5", scope={"team": "s"})
    page = get(finance, shop.url("audit"))
    cells = [text_of(cell) for cell in page.rows()[0]]
    assert f"Key gateway ({issued.key.hint})" in cells[1]
    assert cells[2].split() == ["changed", "the", "budget", "Search"]
    details = next(find(page.rows()[0][3], "dl"))
    assert [text_of(one) for one in find(details, "dt")][:2] == ["amount usd", "scope › team"]
    issuing = [text_of(cell) for cell in page.rows()[1]]
    assert issuing[1] == shop.alice.email
    assert issuing[2].split() == ["issued", "the", "key", issued.key.hint]


@pytest.mark.parametrize(("action", "words"), [
    ("keys.issued", "issued the key"),
    ("members.role_changed", "changed the role of"),
    ("sessions.ended_by_force", "sessions: ended by force"),
    ("odd", "odd"),
])  # fmt: skip
def test_an_action_without_words_of_its_own_is_still_readable(action, words):
    assert did(action) == words


def test_an_actor_without_a_name_keeps_the_one_it_has():
    assert (who("load_demo"), within("load_demo"), within("a@b.example")) == ("The demo", "the demo", "a@b.example")
    assert [who(one, {"1": "tests"}) for one in ("key:1", "key:2", "command", "a@b.example")] == [
        "Key tests", "key:2", "A command on the server", "a@b.example",
    ]  # fmt: skip


def test_changed_data_is_bounded():
    lines = data_lines({f"n{index}": "x" * 9_999 for index in range(LINES_MAX + 5)})
    assert lines[-1] == ("and", "5 more")
    assert max(len(value) for _, value in lines) == VALUE_LENGTH_MAX + 1
    assert data_lines({"a": {"b": {"c": {"d": {"e": 1}}}}, "list": [1, "2"], "no": False, "none": None}) == (
        ("a › b › c › d", '{"e": 1}'), ("list", "1, 2"), ("no", "no"), ("none", "—"),
    )  # fmt: skip


def test_filters_are_in_the_address_and_can_be_removed(shop, finance):
    act(shop.org, "one", actor="bob", action="tests.acted")
    act(shop.org, "two", actor="eve", action="tests.acted")
    page = get(finance, shop.url("audit?actor=bob&action=tests.acted&subject=ON"))
    assert len(page.rows()) == 1
    chips = {attribute(one, "aria_label"): attribute(one, "href") for one in page.find("a")}
    both = get(finance, chips["Remove the filter Who: bob"].replace("subject=ON", ""))
    assert len(both.rows()) == 2
    assert len(get(finance, link(both, "eve")).rows()) == 1
    assert "with these filters" in get(finance, shop.url("audit?actor=nobody")).text


def test_a_day_is_a_day_of_the_organization(shop, finance):
    """Kolkata is five and a half hours ahead of the clock that entries are written by."""
    act(shop.org, "late")
    tamper("UPDATE audit_auditentry SET at = '2026-10-04T18:45:00Z' WHERE organization_id = %(org)s"
           " AND subject = 'late'", shop.org)  # fmt: skip
    assert len(get(finance, shop.url("audit?from=2026-10-05&to=2026-10-05")).rows()) == 1
    page = get(finance, shop.url("audit?from=2026-10-04&to=2026-10-04"))
    assert "No entries match" in page.text


def test_every_entry_is_on_one_page(shop, finance, monkeypatch):
    monkeypatch.setattr(views, "PAGE_ROWS", 2)
    for number in range(5):
        act(shop.org, f"subject {number}")
    seen, url = [], shop.url("audit?action=tests.acted")
    while url:
        page = get(finance, url)
        seen += [text_of(row[2]).rpartition(" ")[2] for row in page.rows()]
        url = page.link("next")
    assert seen == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize("change", [
    "UPDATE audit_auditentry SET actor = 'bob' WHERE organization_id = %(org)s AND sequence = 3",
    "UPDATE audit_auditentry SET hash = sha256('x') WHERE organization_id = %(org)s AND sequence = 3",
    "DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND sequence = 2",
])  # fmt: skip
def test_a_broken_chain_is_seen_on_the_page(shop, finance, change):
    for number in range(3):
        act(shop.org, f"subject {number}")
    assert "are true" in get(finance, shop.url("audit")).text
    tamper(change, shop.org)
    page = get(finance, shop.url("audit"))
    assert "The chain is broken at entry 3" in page.text
    assert "are true" not in page.text
    marked = [row for row in page.rows() if "not true" in text_of(row[2])]
    assert len(marked) == 1


def test_a_tail_that_was_cut_off_is_seen_on_the_page(shop, finance):
    act(shop.org, "first")
    act(shop.org, "last")
    last = get(finance, shop.url("audit")).rows()[0]
    number = int(text_of(next(find(last[3], "summary"))).split()[1].rstrip(","))
    tamper("DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND subject = 'last'", shop.org)
    assert f"The chain is broken at entry {number}" in get(finance, shop.url("audit")).text


def test_only_those_who_may_see_the_log(shop):
    for role in Role:
        allowed = role in (Role.OWNER, Role.ADMIN, Role.FINANCE)
        teams = {"teams": ["search"]} if role == Role.LEAD else {}
        for path in ("audit", "audit.csv", "audit.ndjson"):
            assert member(shop, role, **teams).get(shop.url(path)).status_code == (200 if allowed else 403)


# --- downloads ---


def test_a_download_holds_what_the_page_lists_in_any_number(shop, finance, monkeypatch):
    monkeypatch.setattr(views, "CHUNK_ROWS", 2)
    for number in range(5):
        act(shop.org, f"subject {number}", number=number)
    act(shop.org, "other", actor="eve")
    page = get(finance, shop.url("audit?actor=alice"))
    entries = lines_of(finance, link(page, "NDJSON"))
    assert [one["subject"] for one in entries] == [f"subject {number}" for number in (4, 3, 2, 1, 0)]
    rows = list(csv.DictReader(io.StringIO(downloaded(finance, link(page, "CSV")))))
    assert [row["data"] for row in rows] == [f'{{"number": {number}}}' for number in (4, 3, 2, 1, 0)]
    assert [row["hash"] for row in rows] == [one["hash"] for one in entries]


def test_lines_of_a_download_prove_themselves(shop, finance):
    act(shop.org, HOSTILE_NAME, data=[1, 10**30, "é"])
    for one in lines_of(finance, shop.url("audit.ndjson")):
        content = [one[name] for name in ("organization_id", "sequence", "actor", "action", "subject", "data")]
        org_id, sequence, *rest = content
        at = datetime.fromisoformat(one["at"])
        assert entry_hash(bytes.fromhex(one["previous_hash"]), org_id, sequence, at, *rest).hex() == one["hash"]


def test_no_cell_of_a_download_is_a_formula(shop, finance):
    for sign in ("=", "+", "-", "@", "\t="):
        act(shop.org, f"{sign}1+1", actor=f"{sign}cmd", action=f"{sign}x.y")
    rows = list(csv.DictReader(io.StringIO(downloaded(finance, shop.url("audit.csv")))))
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert "'=1+1" in [row["subject"] for row in rows]


def test_a_download_is_bounded_by_its_range(shop, finance):
    act(shop.org, "old")
    tamper("UPDATE audit_auditentry SET at = '2020-01-01T00:00:00Z' WHERE organization_id = %(org)s"
           " AND subject = 'old'", shop.org)  # fmt: skip
    today = datetime.now(UTC).date() + timedelta(days=1)
    for query, found in (
        ("range=30d", False),
        ("from=2019-12-01&to=2020-02-01", True),
        (f"from=2026-01-01&to={today}", False),
    ):
        response = finance.get(shop.url(f"audit.ndjson?{query}"))
        assert ("old" in [json.loads(line)["subject"] for line in response.getvalue().splitlines()]) is found
    assert response["Content-Disposition"] == (
        f'attachment; filename="audit-{shop.org.slug}-2026-01-01-to-{today}.ndjson"'
    )


def test_a_slow_reader_holds_neither_a_transaction_nor_a_connection(shop, finance, monkeypatch):
    monkeypatch.setattr(views, "CHUNK_ROWS", 1)
    for number in range(4):
        act(shop.org, f"subject {number}")
    response = client_of(shop.alice).get(shop.url("audit.ndjson"))
    assert response.streaming
    chunks = iter(response.streaming_content)
    for _ in range(3):
        next(chunks)
        assert connection.connection is None
    act(shop.org, "meanwhile")
    rest = b"".join(chunks).decode()
    assert "subject 0" in rest
    assert "meanwhile" not in rest
