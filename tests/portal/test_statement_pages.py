"""What finance does with a month on its pages: looks it over, closes it, adjusts it, sets the currency and its rate."""

from decimal import Decimal

import pytest

from apps.organizations.permissions import Role
from apps.reports.papers import PAPERS
from tests.portal.reading import attribute, find, get, text_of
from tests.portal.shop import HUGE, NUL, finance, member, shop, text, viewer
from tests.reports.months import MIDDLE, MONTH, NAME, NEXT_NAME, work
from tests.usage.ledger import as_owner
from tests.world import make_event

__all__ = ["finance", "shop", "viewer"]  # fixtures

MONTH_PAGE = f"statements?month={NAME}"


@pytest.fixture
def month(shop):
    """A month that is over, with usage of the team search."""
    event = make_event(team="search", workflow="rag", occurred_at=MIDDLE.isoformat())
    assert shop.api.send(event)["accepted"] == 1
    return shop


@pytest.fixture
def lead(shop):
    return member(shop, Role.LEAD, teams=["search"])


def act(client, shop, name):
    return client.post(shop.url(f"statements/months/{NAME}/{name}"))


# --- closing --------------------------------------------------------------------------------------------


def test_finance_reviews_and_closes_a_month_and_everybody_sees_that_it_is_final(month, finance, viewer, lead):
    page = get(finance, month.url(MONTH_PAGE)).text
    assert "is over and still open" in page
    assert "Begin the review" in page
    assert act(finance, month, "review").status_code == 302
    assert "is in review" in get(viewer, month.url(MONTH_PAGE)).text
    assert act(finance, month, "close").status_code == 302
    assert "is closing" in get(viewer, month.url(MONTH_PAGE)).text
    assert work(month.org) == 1
    for client in (finance, viewer):
        page = get(client, month.url(MONTH_PAGE)).text
        assert "is final" in page
        assert "CS-000001" in page
        assert f"Close {MONTH:%B %Y}" not in page
    paper = get(lead, month.url(f"statements/{NAME}:search")).text
    assert "CS-000001" in paper
    assert "SHA-256 of its content" in paper


@pytest.mark.parametrize("name", ["review", "reopen", "close"])
def test_who_may_not_close_a_month_is_not_offered_it_and_refused(month, viewer, lead, name):
    for client in (viewer, lead):
        assert act(client, month, name).status_code == 403
    assert f"Close {MONTH:%B %Y}" not in get(viewer, month.url(MONTH_PAGE)).text
    assert "still open" not in get(lead, month.url(MONTH_PAGE)).text


def test_what_stands_in_the_way_is_said_on_the_page_and_nothing_is_closed(month, finance):
    finance.post(month.url("statements/closing"), {"currency": "EUR", "close_after_hours": "72"})
    page = get(finance, month.url(MONTH_PAGE)).text
    assert "enter how many EUR one USD was" in page
    response = act(finance, month, "close")
    assert response.status_code == 400
    assert "enter how many EUR one USD was" in text(response)
    assert "still open" in get(finance, month.url(MONTH_PAGE)).text


@pytest.mark.parametrize("path", ["statements/months/2026-13/close", f"statements/months/{NAME}/burn"])
def test_an_act_on_what_is_no_month_changes_nothing(month, finance, path):
    assert finance.post(month.url(path)).status_code in (400, 404)


# --- papers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", sorted(PAPERS))
def test_a_statement_is_a_file_in_every_format(month, viewer, lead, paper):
    for client in (viewer, lead):
        response = client.get(month.url(f"statements/{NAME}:search.{paper}"))
        assert response.status_code == 200
        assert response["Content-Type"] == PAPERS[paper].content_type
        assert response["Content-Disposition"] == f'attachment; filename="chargeback-{NAME}-search.{paper}"'
        assert response.content
    assert lead.get(month.url(f"statements/{NAME}:.{paper}")).status_code == 404


def test_a_journal_waits_for_the_rate(month, finance):
    finance.post(month.url("statements/closing"), {"currency": "EUR", "close_after_hours": "72"})
    response = finance.get(month.url(f"statements/{NAME}:search.journal.csv"))
    assert response.status_code == 400
    assert "has no rate from USD" in text(response)


# --- currency -------------------------------------------------------------------------------------------


def test_statements_are_in_the_currency_at_the_months_rate(month, finance, viewer):
    finance.post(month.url("statements/closing"), {"currency": "EUR", "close_after_hours": "0", "closes_itself": "1"})
    given = {"month": NAME, "currency": "EUR", "rate": "0.5", "source": "ECB"}
    assert finance.post(month.url("statements/closing"), given).status_code == 302
    page = get(viewer, month.url("statements/closing")).text
    assert "Statements are in EUR" in page
    assert "0.5 EUR" in page
    paper = get(viewer, month.url(f"statements/{NAME}:search")).text
    assert "1 USD = 0.5 EUR (ECB)" in paper
    assert "Total, EUR" in paper
    assert "EUR" in get(viewer, month.url(MONTH_PAGE)).text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"currency": "EUROS", "close_after_hours": "72"}, "no currency"),
        ({"currency": "USD", "close_after_hours": "-1"}, "no number of hours"),
        ({"currency": "USD", "close_after_hours": HUGE}, "no number of hours"),
        ({"currency": "USD", "close_after_hours": "361"}, "0 to 360"),
        ({"currency": NUL, "close_after_hours": "1"}, "no currency"),
        ({"month": "soon", "currency": "EUR", "rate": "1", "source": "x"}, "YYYY-MM"),
        ({"month": NAME, "currency": "EUR", "rate": "much", "source": "x"}, "no rate"),
        ({"month": NAME, "currency": "EUR", "rate": HUGE, "source": "x"}, "no rate"),
        ({"month": NAME, "currency": "EUR", "rate": "1", "source": NUL}, "Say where the rate is from"),
    ],
)
def test_what_cannot_be_kept_is_said_beside_what_was_typed(month, finance, given, says):
    response = finance.post(month.url("statements/closing"), given)
    assert response.status_code == 400
    assert says in text(response)
    assert "Statements are in USD" in get(finance, month.url("statements/closing")).text


# --- adjustments ----------------------------------------------------------------------------------------

ADJUSTMENT = {
    "kind": "adjustment", "month": NAME, "team": "search", "name": "Promise", "amount_usd": "-1.5", "reason": "agreed",
}  # fmt: skip


def test_an_adjustment_is_booked_and_stands_on_the_statement(month, finance, viewer):
    response = finance.post(month.url("statements/adjustments"), ADJUSTMENT)
    assert response.status_code == 302
    listed = get(viewer, month.url("statements/adjustments")).text
    assert "Promise" in listed
    assert "agreed" in listed
    paper = get(viewer, month.url(f"statements/{NAME}:search")).text
    assert "Adjustment: Promise" in paper
    assert "agreed" in paper


def test_a_form_that_is_sent_twice_books_once(month, finance):
    url = month.url("statements/adjustments")
    fields = {attribute(field, "name"): attribute(field, "value") for field in find(get(finance, url).root, "input")}
    given = ADJUSTMENT | {"request_id": fields["request_id"]}
    assert [finance.post(url, given).status_code for _ in range(2)] == [302, 302]
    assert get(finance, url).text.count("agreed") == 1


def test_a_credit_note_corrects_a_final_statement_on_the_next_month(month, finance, viewer):
    act(finance, month, "close")
    work(month.org)
    note = {**ADJUSTMENT, "kind": "credit_note", "refers_to": "CS-000001"}
    assert finance.post(month.url("statements/adjustments"), note).status_code == 302
    paper = get(viewer, month.url(f"statements/{NEXT_NAME}:search")).text
    assert "Credit note: Promise" in paper
    assert "CS-000001" in paper
    assert "Promise" not in get(viewer, month.url(f"statements/{NAME}:search")).text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"amount_usd": "0"}, "no amount to book"),
        ({"amount_usd": HUGE}, "no amount to book"),
        ({"team": "nobody"}, "nobody"),
        ({"team": NUL}, "no team"),
        ({"name": ""}, "Name the line"),
        ({"reason": NUL}, "Give the reason"),
        ({"month": ""}, "YYYY-MM"),
        ({"kind": "credit_note"}, "no final statement"),
        ({"kind": "tax"}, "is not one of adjustment, credit_note."),
        ({"request_id": NUL}, "A request_id has"),
        ({"refers_to": NUL}, "no final statement"),
        ({"refers_to": HUGE}, "no final statement"),
    ],
)
def test_an_adjustment_that_cannot_be_keeps_what_was_typed(month, finance, given, says):
    response = finance.post(month.url("statements/adjustments"), ADJUSTMENT | given)
    assert response.status_code == 400
    assert says in text(response)
    assert "Nothing was adjusted" in get(finance, month.url("statements/adjustments")).text


def test_nobody_else_books_one_and_a_lead_does_not_see_them(month, viewer, lead):
    for client in (viewer, lead):
        assert client.post(month.url("statements/adjustments"), ADJUSTMENT).status_code == 403
    assert lead.get(month.url("statements/adjustments")).status_code == 403


# --- the paper ------------------------------------------------------------------------------------------


def test_a_paper_of_many_lines_shows_the_largest_and_their_whole_sum(month, viewer, monkeypatch):
    dear = make_event(team="search", workflow="rag", model="claude-opus-4-1", occurred_at=MIDDLE.isoformat())
    month.api.send(dear)
    url = month.url(f"statements/{NAME}:search")
    whole = section_of(viewer, url)
    monkeypatch.setattr("apps.portal.views.statements.LINES_SHOWN", 1)
    rows, total = section_of(viewer, url)
    assert (len(whole[0]), len(rows), total) == (2, 2, whole[1])
    assert "claude-opus-4-1" in rows[0]
    assert "1 more line is in the CSV" in rows[1]


def section_of(client, url):
    """The rows of the first section of a paper, and the row below them."""
    section = next(find(get(client, url).root, "section", **{"aria-labelledby": "section-1"}))
    body, foot = (next(find(section, name)) for name in ("tbody", "tfoot"))
    return [text_of(row) for row in find(body, "tr")], text_of(foot)


def test_the_paper_shows_meters_with_rates_that_add_up(month, viewer):
    page = get(viewer, month.url(f"statements/{NAME}:search")).text
    assert "By model and meter" in page
    assert "All meters" in page
    document = month.api.get(f"statements/{NAME}:search").json()
    assert sum(Decimal(row["cost_usd"]) for row in document["by_meter"]) == Decimal(document["usage_usd"])


def article_of(client, url):
    return text_of(next(find(get(client, url).root, "article")))


def test_the_page_of_a_final_statement_follows_nothing_that_comes_later(month, finance):
    act(finance, month, "close")
    work(month.org)
    url = month.url(f"statements/{NAME}:search")
    before = article_of(finance, url)
    as_owner("UPDATE organizations_organization SET name = 'Renamed' WHERE id = %s", month.org.pk)
    assert "Renamed" in get(finance, url).text
    assert article_of(finance, url) == before


def test_a_statement_in_usd_says_what_is_charged_to_the_cent(month, viewer):
    assert "Charged, each line rounded to cents 0.00" in article_of(viewer, month.url(f"statements/{NAME}:search"))
