"""A shop whose team searches, under budgets: who acts on its pages, and what happens meanwhile."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.utils import timezone

from apps.budgets.decisions import Asked, decide
from apps.budgets.services import BudgetTerms, create_budget
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.selectors import principal_for
from apps.organizations.services import add_member
from apps.teams.services import create_project, create_team, create_workflow
from tests.portal.conftest import client_of, make_person, make_shop
from tests.portal.reading import THIN, Page, attribute, find, text_of
from tests.world import make_event, unique

# What one event of `send` costs.
COST = Decimal("0.0045")
HUGE = "9" * 400
NUL = "a\0b"


@pytest.fixture
def shop():
    shop = make_shop()
    team = create_team(org=shop.org, slug="search")
    project = create_project(org=shop.org, slug="answers", team=team)
    create_workflow(org=shop.org, slug="rag", project=project)
    return shop


def member(shop, role, **options):
    person = make_person(role)
    add_member(org=shop.org, user=person, role=role, actor=None, **options)
    return client_of(person)


@pytest.fixture
def finance(shop):
    return member(shop, Role.FINANCE)


@pytest.fixture
def viewer(shop):
    return client_of(shop.bob)


def text(response):
    return response.content.decode()


def send(shop, *, ago=timedelta(0), **fields):
    event = make_event(occurred_at=(datetime.now(UTC) - ago).isoformat(), team="search", **fields)
    assert shop.api.send(event)["accepted"] == 1
    return event


def budget(shop, **fields):
    terms = {"name": unique("budget"), "period": "month", "amount_usd": Decimal(1), **fields}
    return create_budget(org=shop.org, terms=BudgetTerms(**terms), actor="tests")


def hold(shop, usd="0.4", **fields):
    asked = {
        "request_id": unique("request"),
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "team": "search",
        "estimate_usd": Decimal(usd),
        "fingerprint": uuid4().bytes,
        **fields,
    }
    return decide(principal_for(shop.api.secret, at=timezone.now()), Asked(**asked))


def stored(shop, model):
    with tenant(shop.org):
        return list(model.objects.for_org(shop.org))


def amounts_in(cell):
    """Every amount that a cell says, exact."""
    numbers = find(cell, "span", **{"class": "n"})
    exact = [attribute(number, "data-exact") or text_of(number) for number in numbers]
    return [Decimal(one.replace(THIN, "").removesuffix("USD")) for one in exact]


def named(page, name):
    """The fields of that name."""
    fields = (*page.find("input"), *page.find("select"))
    return [field for field in fields if attribute(field, "name") == name]


def as_200(response):
    response.status_code = 200
    return response


def get_posted(client, url, given):
    return Page(client.post(url, given))


def ask(client, shop, one, **given):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    fields = {"amount_usd": "5", "until": tomorrow, "reason": "A launch", **given}
    return client.post(shop.url(f"budgets/{one.pk}"), fields)


FORM = {
    "name": "Search",
    "amount_usd": "500.00",
    "scope.team": "search",
    "period": "month",
    "mode": "block",
    "thresholds": "50, 80 %, 100",
    "forecast_thresholds": "100",
}
