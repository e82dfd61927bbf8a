"""What tests of the home pages share: who looks, and how a card is read."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.teams.services import create_project, create_team, create_workflow
from tests.portal.conftest import client_of, make_person
from tests.portal.reading import Page, attribute, find, text_of
from tests.portal.shop import member

OTHER = "growthcanary"


@pytest.fixture
def owner(shop):
    return client_of(shop.alice)


@pytest.fixture
def lead(shop):
    return member(shop, Role.LEAD, teams=["search"])


def person_and_client(shop, role):
    person = make_person(role)
    add_member(org=shop.org, user=person, role=role, actor=None)
    return person, client_of(person)


@pytest.fixture
def other_team(shop):
    """Another team with a project and a workflow, all called alike."""
    project = create_project(org=shop.org, slug=OTHER, team=create_team(org=shop.org, slug=OTHER))
    create_workflow(org=shop.org, slug=OTHER, project=project)


def cards(page):
    """The headings of the page's cards, in their order."""
    main = next(page.find("main"))
    return [text_of(heading) for heading in find(main, "h2")]


def card(page, name):
    return next(page.find("section", aria_labelledby=name))


def sentences(page):
    return [text_of(item) for item in find(card(page, "changes"), "li")]


def risks(page):
    """Each budget's name, why it is listed, and its links."""
    return [
        (
            attribute(name, "title").partition(": ")[0],
            text_of(next(find(why, "span"))),
            [attribute(link, "href") for link in find(name, "a")],
        )
        for name, why in Page.rows_of(card(page, "at-risk"))
    ]


def at(monkeypatch, instant):
    """Pages are looked at then."""
    monkeypatch.setattr("apps.portal.access.timezone", SimpleNamespace(now=lambda: instant))


def middle_of_a_month():
    """The latest fifteenth at noon: at most a month ago."""
    now = datetime.now(UTC)
    this = now.replace(day=15, hour=12, minute=0, second=0, microsecond=0)
    return this if this < now else (this.replace(day=1) - timedelta(days=1)).replace(day=15)


def around_now(**fields):
    """Of a period of twenty days, eighteen of which are over: the run rate is little more than what is spent."""
    now = timezone.now()
    return {"period": "range", "starts_at": now - timedelta(days=18), "ends_at": now + timedelta(days=2), **fields}
