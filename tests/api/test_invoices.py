"""Bills through the API: importing, reading, comparing with what was metered, truing up."""

import gzip
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.core.periods import next_month
from apps.reports.chargeback_terms import GivenRate, enter_rates
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.reports.bill_files import MAPPED, MODEL, MONTH, bill, imported, metered, on, row, save_mapping, send_bill

FILES = Path(__file__).parents[1] / "reports" / "bills"
MILLION = 10**6


@pytest.fixture
def org():
    return make_org()


@pytest.fixture
def api(org):
    return make_api(org)


def refused(response, status, code, param=None):
    body = response.json()
    assert (response.status_code, body["code"], body.get("param")) == (status, code, param), body
    return body["detail"]


def reconciliation(api, invoice, **query):
    response = api.get(f"invoices/{invoice['id']}/reconciliation", **query)
    assert response.status_code == 200, response.content
    return response.json()


def buckets(found, name="usd"):
    return {one["bucket"]: Decimal(one[name]) for one in found["buckets"] if Decimal(one[name])}


# --- importing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "name", "said", "lines", "total"),
    [
        ("openai_costs", "openai_costs.json", {}, 6, "1.650030000000"),
        ("anthropic_cost_report", "anthropic_cost_report.json", {}, 4, "1.857891200000"),
        ("copilot", "copilot.json", {}, 3, "7.510000000000"),
        ("focus", "focus.csv", {}, 4, "8.700000000000"),
        ("focus", "focus.csv", {"category": ""}, 5, "107.700000000000"),
    ],
)
def test_each_format_is_imported_and_read_again(api, format, name, said, lines, total):
    response = send_bill(api, (FILES / name).read_bytes(), format=format, **said)
    assert response.status_code == 201, response.content
    made = response.json()
    assert (made["month"], made["total"], made["total_usd"], made["per_usd"]) == ("2026-11", total, total, None)
    read = api.get(f"invoices/{made['id']}").json()
    assert len(read["lines"]) == read["line_count"] == lines
    assert sum(Decimal(line["amount_usd"]) for line in read["lines"]) == Decimal(total)
    assert [line["row"] for line in read["lines"]] == sorted(line["row"] for line in read["lines"])


def test_a_form_with_a_file_is_read_too(api):
    packed = gzip.compress((FILES / "focus.csv").read_bytes())
    form = {"format": "focus", "number": "A-1", "file": SimpleUploadedFile("nov.csv.gz", packed)}
    response = api.client.post("/api/v1/invoices", form, headers=api.headers)
    assert response.status_code == 201, response.content
    assert (response.json()["file_name"], response.json()["number"]) == ("nov.csv.gz", "A-1")
    refused(api.client.post("/api/v1/invoices", {"format": "focus"}, headers=api.headers), 400, "file_missing", "file")


def test_the_same_file_is_imported_once(api):
    first = imported(api, [row("3")])
    assert f"invoice {first['id']} already" in refused(send_bill(api, bill(row("3"))), 409, "invoice_known", "file")
    detail = refused(send_bill(api, bill(row("4"))), 409, "invoice_known", "number")
    assert "give this one a number of its own" in detail
    assert send_bill(api, bill(row("4")), number="2").status_code == 201
    assert len(api.get("invoices").json()["data"]) == 2


def test_a_file_of_several_providers_is_imported_once_for_each(api):
    save_mapping(api)
    both = bill(row("3"), row("5", provider="openai", model="gpt-5"))
    detail = refused(send_bill(api, both), 400, "bill_mixed", "provider")
    assert "anthropic, openai" in detail
    for provider, total in (("Anthropic", "3"), ("openai", "5")):
        made = send_bill(api, both, provider=provider).json()
        assert (Decimal(made["total"]), made["left_out"]) == (Decimal(total), 1)
    refused(send_bill(api, both, provider="mistral"), 400, "bill_empty", "provider")
    refused(send_bill(api, both, provider="openai"), 409, "invoice_known", "file")


def test_a_file_of_several_months_needs_one(api):
    save_mapping(api)
    both = bill(row("3"), row("5", day="2020-01-31"))
    assert f"2020-01, {MONTH:%Y-%m}" in refused(send_bill(api, both), 400, "bill_mixed", "month")
    assert send_bill(api, both, month="2020-01").json()["total"] == "5.000000000000"
    assert send_bill(api, both, month=f"{MONTH:%Y-%m}").json()["left_out"] == 1
    refused(send_bill(api, both, month="2019-01"), 400, "bill_empty", "month")
    undated = bill(row("3", day=""))
    refused(send_bill(api, undated), 400, "bill_month_unknown", "month")
    assert send_bill(api, undated, month="2020-02").json()["month"] == "2020-02"


def test_a_bill_in_another_currency_keeps_both_amounts(api):
    save_mapping(api)
    euros = bill(row("9.20", currency="EUR"), row("-0.01", currency="EUR", kind="credit"))
    refused(send_bill(api, euros), 400, "bill_rate_missing", "per_usd")
    refused(send_bill(api, euros, per_usd="0.92"), 400, "bill_rate_missing", "source")
    for rate in ("0", "-1", "1e2", "1,2", "0.00001", "٣"):
        refused(send_bill(api, euros, per_usd=rate, source="bank"), 400, "bill_rate_invalid", "per_usd")
    made = send_bill(api, euros, per_usd="0.92", source="Invoice, page 2").json()
    assert (made["currency"], made["total"], made["total_usd"]) == ("EUR", "9.190000000000", "9.989130434783")
    assert (made["per_usd"], made["rate_source"]) == ("0.92", "Invoice, page 2")
    refused(send_bill(api, bill(row("1")), per_usd="0.92"), 400, "bill_rate_unneeded", "per_usd")
    refused(send_bill(api, bill(row("1"), row("1", currency="EUR"))), 400, "bill_mixed", "currency")


def test_a_bad_file_imports_nothing_and_says_where(api):
    save_mapping(api)
    detail = refused(send_bill(api, bill(row("1"), row("1.2.3"))), 400, "bill_row_invalid", "file")
    assert detail == "Row 2, Amount: '1.2.3'. Write an amount like 12.34."
    refused(send_bill(api, b""), 400, "file_missing", "file")
    refused(send_bill(api, b"x" * (20 * 1024 * 1024 + 1)), 413, "bill_too_large", "file")
    refused(send_bill(api, bill(row("1")), format="pdf"), 400, "bill_format_unknown", "format")
    refused(send_bill(api, bill(row("1")), colour="red"), 400, "parameter_unknown", "colour")
    refused(send_bill(api, bill(row("1")), mapping="other"), 400, "mapping_unknown", "mapping")
    refused(send_bill(api, bill(row("1")), days="lunar"), 400, "days_unknown", "days")
    refused(send_bill(api, bill(row("1")), number="x" * 101), 400, "number_invalid", "number")
    assert api.get("invoices").json()["data"] == []


def test_lists_and_lines_go_on_from_page_to_page(api):
    first = imported(api, [row("1", day=on(day)) for day in range(1, 8)])
    second = send_bill(api, bill(row("2", provider="openai")), number="2").json()
    page = api.get("invoices", limit=1).json()
    assert [one["id"] for one in page["data"]] == [second["id"]]
    assert [one["id"] for one in api.get("invoices", cursor=page["next"]).json()["data"]] == [first["id"]]
    assert [one["id"] for one in api.get("invoices", provider="OpenAI").json()["data"]] == [second["id"]]
    assert api.get("invoices", month="2020-01").json()["data"] == []
    lines, cursor = [], {}
    while cursor is not None:
        page = api.get(f"invoices/{first['id']}", limit=3, **cursor).json()
        lines += [line["row"] for line in page["lines"]]
        cursor = {"cursor": page["next"]} if page["next"] else None
    assert lines == [1, 2, 3, 4, 5, 6, 7]
    refused(api.get("invoices", cursor="nonsense"), 400, "cursor_invalid", "cursor")


def test_a_bill_can_be_deleted_and_imported_again(api):
    made = imported(api, [row("3")])
    assert api.client.delete(f"/api/v1/invoices/{made['id']}", headers=api.headers).status_code == 204
    refused(api.get(f"invoices/{made['id']}"), 404, "not_found")
    assert send_bill(api, bill(row("3"))).status_code == 201


def test_mappings_are_saved_under_a_name(api):
    save_mapping(api, "ours")
    changed = api.post("invoices/mappings", {"name": "ours", "mapped": {**MAPPED, "currency": "=eur"}}).json()
    (listed,) = api.get("invoices/mappings").json()["data"]
    assert listed == changed
    assert (listed["mapped"]["currency"], listed["mapped"]["day_order"]) == ("=eur", "ymd")
    for wrong, param in ({"name": "x", "mapped": {"amount": "a"}}, "provider"), ({"name": "", "mapped": {}}, "name"):
        assert api.post("invoices/mappings", wrong).json()["param"] == param
    assert api.client.delete(f"/api/v1/invoices/mappings/{listed['id']}", headers=api.headers).status_code == 204
    assert api.get("invoices/mappings").json()["data"] == []


# --- reconciliation ------------------------------------------------------------------------------------


def test_a_bill_that_agrees_has_no_gap(api):
    metered(api, {"input_tokens": MILLION, "output_tokens": MILLION})
    output = row("5", meter="output tokens", quantity="1000000")
    found = reconciliation(api, imported(api, [row("1", quantity="1000000"), output]))
    assert (found["gap_usd"], found["verdict"], found["coverage"]) == ("0.000000000000", "agrees", "1.000000")
    assert buckets(found) == {}
    (day,) = found["days"]
    assert (day["day"], day["billed_usd"], day["metered_usd"]) == (on(5), "6.000000000000", "6.000000000000")


def test_a_gap_is_split_by_what_it_comes_from(api):
    metered(api, {"input_tokens": 2 * MILLION})
    made = imported(
        api,
        [
            # 3 million at 2 USD, of which 2 were metered at 1.
            row("6", quantity="3000000"),
            row("7", model="claude-opus-4-1", quantity="1"),
            row("-1", kind="credit", day="", meter=""),
            row("2", kind="tax", day="", meter=""),
        ],
    )
    found = reconciliation(api, made)
    assert buckets(found) == {
        "price": Decimal(2), "quantity": Decimal(2), "unmetered": Decimal(7), "credits": Decimal(-1),
        "tax": Decimal(2),
    }  # fmt: skip
    assert (found["billed_usd"], found["metered_usd"], found["verdict"]) == (
        "14.000000000000", "2.000000000000", "look",
    )  # fmt: skip
    assert Decimal(found["gap_usd"]) == sum(buckets(found).values())
    # 4 of 13 USD of usage.
    assert found["coverage"] == "0.307692"
    assert [cell["model"] for cell in found["cells"]] == ["claude-opus-4-1", MODEL]
    assert [day["billed_usd"] for day in reconciliation(api, made, model=MODEL)["days"]] == ["6.000000000000"]


def test_names_are_compared_as_they_are_meant(api):
    metered(api, {"input_tokens": MILLION}, provider="bedrock", model="us.anthropic.claude-haiku-4-5-20251001-v1:0")
    made = imported(
        api, [row("3", provider="AWS", model="anthropic.claude-haiku-4-5-20251001-v1:0", quantity="1000000")]
    )
    found = reconciliation(api, made)
    assert found["provider"] == "aws"
    assert set(buckets(found)) == {"price"}
    assert len(found["cells"]) == 1


def test_days_in_utc_and_a_month_elsewhere_are_timing():
    org = make_org(zone="Asia/Tokyo")
    api = make_api(org)
    last = (next_month(MONTH) - timedelta(days=1)).day
    # In UTC the last of the month, in Tokyo the first of the next.
    metered(api, {"input_tokens": MILLION}, day=1, hour=23)
    metered(api, {"input_tokens": 2 * MILLION}, day=last, hour=20)
    rows = [row("1", day=on(1), quantity="1000000"), row("2", day=on(last), quantity="2000000")]
    found = reconciliation(api, imported(api, rows))
    assert buckets(found) == {"timing": Decimal(2)}
    assert [day["gap_usd"] for day in found["days"]] == ["0.000000000000"] * 2
    assert found["days_in"] == "utc"
    local = send_bill(api, bill(row("0", day=on(1), provider="openai")), days="local").json()
    assert reconciliation(api, local)["days_in"] == "local"


def test_all_bills_of_a_provider_and_month_are_one_reconciliation(api):
    metered(api, {"input_tokens": 2 * MILLION})
    first = imported(api, [row("1", account="a", quantity="1000000")])
    second = send_bill(api, bill(row("1", account="b", quantity="1000000"))).json()
    for made in (first, second):
        found = reconciliation(api, made)
        assert (found["gap_usd"], found["invoices"]) == ("0.000000000000", [first["id"], second["id"]])


def test_what_the_months_rate_makes_of_a_bill_is_exchange(org, api):
    metered(api, {"input_tokens": 10 * MILLION})
    made = imported(api, [row("9.20", currency="EUR", quantity="10000000")], per_usd="0.92", source="bill")
    assert buckets(reconciliation(api, made)) == {}
    for rate in ("0.80", "0.90"):
        enter_rates(org=org, rates=[GivenRate(MONTH, "EUR", rate, "bank")], actor=None)
    found = reconciliation(api, made)
    assert buckets(found) == {"exchange": Decimal("0.222222222222")}
    (share,) = true_up(api, made).json()["shares"]
    assert (share["kind"], share["team"], share["cost_usd"]) == ("exchange", None, "0.222222222222")


def test_a_pinned_key_has_no_bills(org, api):
    create_team(org=org, slug="search")
    made = imported(api, [row("3")])
    pinned = make_api(org, team="search")
    for path in ("invoices", f"invoices/{made['id']}", f"invoices/{made['id']}/reconciliation", "invoices/mappings"):
        refused(pinned.get(path), 403, "pinned_dimension")


# --- truing up -----------------------------------------------------------------------------------------


def true_up(api, invoice, **body):
    return api.post(f"invoices/{invoice['id']}/true-up", body)


def borne(shares):
    return {(one["bucket"], one["team"]): Decimal(one["cost_usd"]) for one in shares}


@pytest.fixture
def gap(org, api):
    """Search metered two thirds of a dollar, legal one; billed are 2, 7 for what nobody metered, and 0.76 of tax."""
    create_team(org=org, slug="search")
    create_team(org=org, slug="legal")
    metered(api, {"input_tokens": 2 * MILLION // 3}, team="search")
    metered(api, {"input_tokens": MILLION // 3 + 1}, team="legal")
    return imported(
        api,
        [
            row("2", quantity="1000000"),
            row("7", model="claude-opus-4-1", quantity="1"),
            row("0.76", kind="tax", day="", meter=""),
        ],
    )


def test_truing_up_books_what_is_left_and_only_once(api, gap):
    preview = api.get(f"invoices/{gap['id']}/true-up").json()
    done = true_up(api, gap)
    assert done.status_code == 201, done.content
    assert done.json()["shares"] == preview["shares"]
    assert (preview["booked_month"], done.json()["booked_month"]) == (None, f"{MONTH:%Y-%m}")
    shares = borne(done.json()["shares"])
    assert shares["unmetered", None] == 7
    assert sum(usd for (bucket, _), usd in shares.items() if bucket == "price") == 1
    assert sum(shares.values()) == Decimal(reconciliation(api, gap)["gap_usd"])
    assert {one["bucket"]: one["kind"] for one in done.json()["shares"]} == {
        "price": "true_up", "unmetered": "true_up", "tax": "tax",
    }  # fmt: skip
    found = reconciliation(api, gap)
    assert buckets(found, "remaining_usd") == {}
    assert buckets(found, "booked_usd") == buckets(found)
    refused(true_up(api, gap), 409, "nothing_to_true_up", "buckets")
    refused(api.client.delete(f"/api/v1/invoices/{gap['id']}", headers=api.headers), 409, "invoice_trued_up")
    assert api.get(f"invoices/{gap['id']}").json()["state"] == "trued_up"


def test_what_comes_after_a_true_up_is_what_is_left(api, gap):
    true_up(api, gap, buckets=["price"])
    assert set(buckets(reconciliation(api, gap), "remaining_usd")) == {"unmetered", "tax"}
    send_bill(api, bill(row("1", kind="tax", day="", meter="")), month=f"{MONTH:%Y-%m}", number="2")
    again = borne(true_up(api, gap).json()["shares"])
    assert sum(usd for (bucket, _), usd in again.items() if bucket == "tax") == Decimal("1.76")
    assert ("unmetered", None) in again
    assert not any(bucket == "price" for bucket, _ in again)


def test_buckets_are_known_ones(api, gap):
    refused(true_up(api, gap, buckets=["luck"]), 400, "bucket_unknown", "buckets")
    refused(true_up(api, gap, bucket=["price"]), 400, "field_unknown", "bucket")
    refused(true_up(api, gap, buckets=["credits"]), 409, "nothing_to_true_up", "buckets")
