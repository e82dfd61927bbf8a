"""The pages of bills: the list, importing, the columns of a CSV file, one bill, and the reconciliation."""

from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.teams.services import create_team
from tests.portal.conftest import client_of, make_person, make_shop
from tests.portal.reading import attribute, get
from tests.reports.bill_files import MONTH, bill, imported, metered, row, save_mapping

FILES = Path(__file__).parents[1] / "reports" / "bills"
MILLION = 10**6
MONTH_TEXT = f"{MONTH:%Y-%m}"


@pytest.fixture
def shop():
    return make_shop()


@pytest.fixture
def alice(shop):
    return client_of(shop.alice)


def upload(body, name="bill.csv"):
    return SimpleUploadedFile(name, body)


def text(response):
    return " ".join(get_text(response).split())


def get_text(response):
    return response.content.decode().replace("\u202f", " ").replace("\u2212", "-")


def test_a_month_without_a_bill_says_what_comes_here(shop, alice):
    page = text(alice.get(shop.url("invoices")))
    assert f"No bill of {MONTH:%B %Y} yet" in page
    assert "Import a bill" in page
    metered(shop.api, {"input_tokens": MILLION})
    page = text(alice.get(shop.url("invoices")))
    assert "no bill" in page
    assert "anthropic" in page


def test_a_file_is_imported_and_compared(shop, alice):
    metered(shop.api, {"input_tokens": MILLION})
    save_mapping(shop.api)
    form = {"format": "csv", "mapping": "ours", "number": "A-7", "file": upload(bill(row("2", quantity="1000000")))}
    done = alice.post(shop.url("invoices/new"), form)
    assert done.status_code == 302, done.content
    page = text(alice.get(done.url))
    assert "Another unit price" in page
    assert "A-7" in page
    listed = text(alice.get(shop.url(f"invoices?month={MONTH_TEXT}")))
    assert "100.0 %" in listed
    assert "A-7" in listed


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"format": "openai_costs"}, "file", "The file is not JSON"),
        ({"format": "pdf"}, "format", "no format of bills"),
        ({"month": "November"}, "month", "write it as YYYY-MM"),
        ({"mapping": "theirs"}, "mapping", "No mapping is called"),
        ({"provider": "mistral"}, "provider", "has no line of mistral"),
        ({"per_usd": "0.9"}, "per_usd", "leave its rate out"),
        ({"file": upload(b"")}, "file", "Choose the file"),
    ],
)
def test_what_is_wrong_with_a_form_stands_by_the_field_and_what_was_typed_stays(shop, alice, changes, field, says):
    save_mapping(shop.api)
    form = {"format": "csv", "mapping": "ours", "number": "kept-7", "file": upload(bill(row("2"))), **changes}
    answer = alice.post(shop.url("invoices/new"), form)
    page = text(answer)
    assert answer.status_code == 400
    assert says in page
    assert 'value="kept-7"' in page
    if field != "format":
        assert 'aria-describedby="error"' in page
    assert shop.api.get("invoices").json()["data"] == []


def test_the_columns_of_an_unknown_file_are_chosen_saved_and_used(shop, alice):
    body = (FILES / "generic.csv").read_bytes()
    page = text(alice.post(shop.url("invoices/new"), {"format": "csv", "month": MONTH_TEXT, "file": upload(body)}))
    assert "What the columns hold" in page
    assert "1.234,56 €" in page
    # What usually holds an amount is chosen already.
    assert '<option value="Betrag" selected>' in page
    chosen = {
        "name": "Reseller", "column.day": "Datum", "column.model": "Modell", "column.meter": "Art",
        "column.quantity": "Menge", "column.unit": "Einheit", "column.amount": "Betrag", "column.kind": "Typ",
        "always.currency": "EUR", "day_order": "dmy", "decimal_mark": ",", "per_usd": "0.9", "source": "bank",
        "sample": '[["Datum", "Modell", "Art", "Menge", "Einheit", "Betrag", "Typ"], []]', "month": "2026-11",
    }  # fmt: skip
    refused = alice.post(shop.url("invoices/mappings"), chosen)
    assert refused.status_code == 400
    assert "Say which column holds the provider" in text(refused)
    assert 'value="Reseller"' in text(refused)
    chosen["always.provider"] = "Mistral AI"
    saved = alice.post(shop.url("invoices/mappings"), chosen)
    assert saved.url == shop.url("invoices/new?format=csv&mapping=Reseller")
    done = alice.post(shop.url("invoices/mappings"), {**chosen, "file": upload(body)})
    assert done.status_code == 302, text(done)
    (made,) = shop.api.get("invoices").json()["data"]
    assert (made["provider"], made["currency"], made["total"]) == ("mistral", "EUR", "1253.500000000000")
    listed = text(alice.get(shop.url("invoices/mappings")))
    assert "amount from “Betrag”" in listed
    assert "currency always “EUR”" in listed
    (mapping,) = shop.api.get("invoices/mappings").json()["data"]
    assert alice.post(shop.url(f"invoices/mappings/{mapping['id']}/remove")).status_code == 302
    assert "No mapping yet" in text(alice.get(shop.url("invoices/mappings")))


def test_a_form_of_somebody_elses_has_no_columns(shop, alice):
    for sample in ("", "7", '[["\\ud800"], [["\\ud800"]]]', "[1, 2]", "[[], [7]]", "[" * 100_000):
        answer = alice.post(shop.url("invoices/mappings"), {"name": "x", "sample": sample, "column.amount": "Amount"})
        assert answer.status_code == 400


def test_columns_are_chosen_of_no_more_than_a_page_can_offer(shop, alice):
    def header(count):
        return ",".join(f"column {number}" for number in range(count)).encode() + b"\n"

    shown = alice.post(shop.url("invoices/new"), {"format": "csv", "file": upload(header(500))})
    assert (shown.status_code, text(shown).count(">column 499</option>")) == (200, 10)
    refused = alice.post(shop.url("invoices/new"), {"format": "csv", "file": upload(header(501))})
    assert refused.status_code == 400
    assert "too many columns to choose from" in text(refused)


def test_a_bill_shows_its_lines_page_by_page(shop, alice):
    made = imported(shop.api, [row("1", account=f"a{number}") for number in range(101)])
    page = text(alice.get(shop.url(f"invoices/{made['id']}")))
    assert "101" in page
    assert "a99" in page
    assert "a100" not in page
    following = get(alice, shop.url(f"invoices/{made['id']}"))
    (link,) = [href for one in following.find("a") if "cursor=" in (href := attribute(one, "href") or "")]
    assert "a100" in text(alice.get(link))
    assert alice.get(shop.url(f"invoices/{made['id'] + 1}")).status_code == 404


def test_a_bill_in_another_currency_shows_both(shop, alice):
    made = imported(shop.api, [row("9.20", currency="EUR")], per_usd="0.92", source="Page-2")
    page = text(alice.get(shop.url(f"invoices/{made['id']}")))
    assert "9.2 EUR" in page
    assert "0.92 EUR a USD, by Page-2" in page


@pytest.fixture
def gap(shop):
    """Search metered 1 USD, 2 were billed for it; 7 for what nobody metered, and 0.76 of tax."""
    create_team(org=shop.org, slug="search")
    metered(shop.api, {"input_tokens": MILLION}, team="search")
    rows = [
        row("2", quantity="1000000"),
        row("7", model="claude-opus-4-1", quantity="1"),
        row("0.76", kind="tax", day="", meter=""),
    ]
    return imported(shop.api, rows)


def test_the_bridge_leads_from_metered_to_billed(shop, alice, gap):
    page = text(alice.get(shop.url(f"invoices/{gap['id']}/reconciliation")))
    for words in ("Another unit price", "Never metered", "claude-opus-4-1", "search", "no team", "true-up", "look"):
        assert words in page
    assert "/events?" in page
    one = text(alice.get(shop.url(f"invoices/{gap['id']}/reconciliation?model=claude-haiku-4-5")))
    assert "By day: claude-haiku-4-5" in one


def test_a_preview_is_of_what_is_ticked(shop, alice, gap):
    page = text(alice.get(shop.url(f"invoices/{gap['id']}/reconciliation?bucket=price")))
    assert 'value="price" checked' in page
    assert 'value="tax" checked' not in page
    assert '<span class="none">no team</span>' not in page


def test_truing_up_books_what_is_ticked_and_says_when_nothing_is_left(shop, alice, gap):
    here = f"invoices/{gap['id']}"
    for buckets in (["price"], ["unmetered", "tax"]):
        done = alice.post(shop.url(f"{here}/true-up"), {"bucket": buckets})
        assert done.url == shop.url(f"{here}/reconciliation")
    assert "Nothing is left to book" in text(alice.get(done.url))
    again = alice.post(shop.url(f"{here}/true-up"), {"bucket": ["price"]})
    assert again.status_code == 400
    assert "Nothing is left to book" in text(again)
    assert "Delete…" not in text(alice.get(shop.url(here)))
    assert "was trued up and stays" in text(alice.post(shop.url(f"{here}/delete")))


def test_who_only_looks_gets_no_forms(shop, gap):
    bob = client_of(shop.bob)
    assert "Import a bill" not in text(bob.get(shop.url(f"invoices?month={MONTH_TEXT}")))
    page = text(bob.get(shop.url(f"invoices/{gap['id']}/reconciliation")))
    assert "Book what is ticked" not in page
    assert bob.get(shop.url("invoices/new")).status_code == 403
    for act in ("delete", "true-up"):
        assert bob.post(shop.url(f"invoices/{gap['id']}/{act}"), {"bucket": "price"}).status_code == 403
    assert bob.post(shop.url("invoices/mappings"), {}).status_code == 403
    charlie = client_of(shop.charlie)
    assert charlie.get(shop.url(f"invoices/{gap['id']}/reconciliation")).status_code == 404


def test_a_bill_is_deleted(shop, alice, gap):
    done = alice.post(shop.url(f"invoices/{gap['id']}/delete"))
    assert done.url == shop.url(f"invoices?month={MONTH_TEXT}")
    assert shop.api.get("invoices").json()["data"] == []


def test_the_home_of_owners_and_finance_shows_how_much_was_metered(shop, alice):
    metered(shop.api, {"input_tokens": MILLION // 2})
    assert "as far as they were metered" not in text(alice.get(shop.url()))
    imported(shop.api, [row("1", quantity="1000000")])
    finance = make_person("finance")
    add_member(org=shop.org, user=finance, role=Role.FINANCE, actor=None)
    for client in (alice, client_of(finance)):
        page = text(client.get(shop.url()))
        assert f"Bills of {MONTH:%B %Y}, as far as they were metered" in page
        assert "50.0 %" in page
    assert "as far as they were metered" not in text(client_of(shop.bob).get(shop.url()))
