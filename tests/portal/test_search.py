"""What the command palette finds: things by their names, runs by their ids, and of all that only what one may open."""

from decimal import Decimal
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.budgets.services import BudgetTerms, create_budget, end_budget
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.portal.views.search import FOUND_MAX
from apps.reports import runs
from apps.reports.views import save_view
from apps.teams.models import Named
from apps.teams.services import create_project, create_team, create_workflow, rename
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.portal.conftest import HOSTILE_NAME, Shop, client_of, make_person, make_shop
from tests.portal.reading import Page, attribute, find, text_of
from tests.world import make_event


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = make_shop()
    team = create_team(org=shop.org, slug="quick-team")
    call(shop, team, "Answers in no time")
    other = create_team(org=shop.org, slug="other")
    project = create_project(org=shop.org, slug="quick-project", team=team)
    create_workflow(org=shop.org, slug="quick-agent", project=project)
    create_team(org=shop.org, slug="100%_sure")
    create_team(org=shop.org, slug=HOSTILE_NAME)
    _, over = (
        create_budget(org=shop.org, terms=BudgetTerms(name, "month", Decimal(1)), actor="tests")
        for name in ("Quick wins", "Quick losses")
    )
    end_budget(org=shop.org, budget_id=over.pk, actor="tests")
    for name, query, is_shared in (
        ("quickly", "group_by=model&team=quick-team", True),
        ("quick of another", f"group_by=model&team={other.slug}", True),
        ("quick and private", "group_by=model", False),
    ):
        save_view(org=shop.org, actor=shop.alice, name=name, query=query, is_shared=is_shared)
    shop.api.send(
        *(make_event(run_id=f"quick-{number:03}", team="quick-team") for number in range(7)),
        make_event(run_id="quick", team="other"),
        make_event(run_id="quicj-before", team="quick-team"),
        make_event(run_id="quick_100%/run", team="quick-team"),
    )
    with as_worker():
        roll_up(shop.org)
    return shop


def call(shop: Shop, named: Named, name: str) -> None:
    rename(org=shop.org, named=named, name=name, actor=None)


def as_role(shop: Shop, role: Role, **options: list[str]) -> Client:
    person = make_person("role")
    add_member(org=shop.org, user=person, role=role, actor=None, **options)
    return client_of(person)


def ask(client: Client, shop: Shop, text: str) -> Page:
    return Page(client.get(shop.url("search?" + urlencode({"q": text}))))


def found(page: Page) -> dict[str, list[str]]:
    """The addresses of each kind; a fragment of one section is that section."""
    return {
        text_of(next(find(section, "h2"))): [attribute(link, "href") or "" for link in find(section, "a")]
        for section in (page.root, *page.find("section"))
        if section.name == "section"
    }


def test_things_of_every_kind_are_found_where_they_open(shop: Shop) -> None:
    alice = client_of(shop.alice)
    kinds = found(ask(alice, shop, " QUICK "))
    # An id is exactly what it is; a name is written in any way.
    assert list(kinds) == ["Teams", "Projects", "Workflows", "Budgets", "Views"]
    kinds = found(ask(alice, shop, "quick"))
    assert list(kinds) == ["Teams", "Projects", "Workflows", "Budgets", "Views", "Runs"]
    assert kinds["Teams"] == [shop.url("teams/quick-team")]
    assert len(kinds["Budgets"]) == 1
    assert len(kinds["Views"]) == 3
    for links in kinds.values():
        assert {alice.get(link).status_code for link in links} == {200}
    people = found(ask(alice, shop, shop.bob.email[:20]))["Members"]
    assert people
    assert shop.bob.email in alice.get(people[0]).content.decode()


def test_a_name_for_people_finds_it_too_and_is_shown_beside(shop: Shop) -> None:
    page = ask(client_of(shop.bob), shop, "no time")
    assert found(page) == {"Teams": [shop.url("teams/quick-team")]}
    assert "Answers in no time" in page.text


def test_a_run_is_found_by_its_id_and_by_how_it_begins(shop: Shop) -> None:
    bob = client_of(shop.bob)
    ids = found(ask(bob, shop, "quick"))["Runs"]
    assert ids == [shop.url(f"runs/{name}") for name in ("quick", "quick-000", "quick-001", "quick-002", "quick-003")]
    assert found(ask(bob, shop, "quick-006"))["Runs"] == [shop.url("runs/quick-006")]
    assert found(ask(bob, shop, "quick_100%/"))["Runs"] == [shop.url("runs/quick_100%25%2Frun")]
    assert found(ask(bob, shop, "uick-006")) == {}


def test_runs_are_looked_for_among_so_many(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "IDS_SCANNED", 2)
    assert len(found(ask(client_of(shop.bob), shop, "quick"))["Runs"]) == 2


@pytest.mark.parametrize(("text", "count"), [("100%_", 1), ("0%_s", 1), ("%", 1), ("_", 1), ("q%k", 0), ("quick_t", 0)])
def test_signs_of_patterns_are_letters_like_others(shop: Shop, text: str, count: int) -> None:
    assert len(found(ask(client_of(shop.bob), shop, text)).get("Teams", [])) == count + (HOSTILE_NAME.count(text) > 0)


@pytest.mark.parametrize("text", ["", "   ", "\0", "quick\0", "\x07", "q" * 5000, HOSTILE_NAME, "\u202e", "nobody"])
def test_what_cannot_be_a_name_finds_nothing_and_fails_nowhere(shop: Shop, text: str) -> None:
    page = ask(client_of(shop.bob), shop, text)
    assert "<script>alert" not in page.html
    assert ("Nothing named" in page.text) == (bool(text.strip()) and text != HOSTILE_NAME and not found(page))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ENGINEER, Role.FINANCE, Role.ADMIN])
def test_every_role_opens_what_it_finds(shop: Shop, role: Role) -> None:
    client = as_role(shop, role)
    links = [link for kind in found(ask(client, shop, "quick")).values() for link in kind]
    assert len(links) > 10
    assert {client.get(link).status_code for link in links} == {200}


def test_a_lead_finds_what_is_of_the_teams_led(shop: Shop) -> None:
    client = as_role(shop, Role.LEAD, teams=["quick-team"])
    kinds = found(ask(client, shop, "quick"))
    assert kinds == {
        "Teams": [shop.url("spend?team=quick-team")],
        "Views": [shop.url("spend?group_by=model&team=quick-team")],
        "Runs": [shop.url(f"runs/quick-{number:03}") for number in range(FOUND_MAX)],
    }
    assert {client.get(link).status_code for kind in kinds.values() for link in kind} == {200}
    assert found(ask(client, shop, "other")) == {}


def test_nothing_is_found_from_another_organization(shop: Shop) -> None:
    other = make_shop()
    assert found(ask(client_of(other.alice), other, "quick")) == {}
    assert client_of(shop.charlie).get(shop.url("search?q=quick")).status_code == 404


def test_it_asks_as_often_for_much_as_for_little(shop: Shop) -> None:
    alice, counts = client_of(shop.alice), []
    for text in ("nobody", "quick"):
        with CaptureQueriesContext(connection) as queries:
            ask(alice, shop, text)
        counts.append(len(queries))
    assert counts[0] == counts[1]
