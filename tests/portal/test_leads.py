"""What a team lead sees: the spend of the teams they lead, and nothing of any other."""

import pytest
from django.test import Client

from apps.organizations.permissions import Role
from apps.organizations.services import add_member, issue_key
from apps.reports.views import save_view
from apps.teams.services import create_project, create_team
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.portal.conftest import Shop, client_of, make_person, make_shop
from tests.portal.reading import attribute, get, text_of
from tests.world import Api, make_event

# As a word of its own, so that it is found wherever it is shown.
OTHER = "growthcanary"
MINE = ("search", "answers")


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = make_shop()
    for slug in (*MINE, OTHER):
        team = create_team(org=shop.org, slug=slug)
        create_project(org=shop.org, slug=f"{slug}-project", team=team)
        shop.api.send(
            make_event(event_id=f"{slug}-event", team=slug, project=f"{slug}-project", run_id=f"{slug}-run"),
        )
    shop.api.send(
        make_event(
            event_id=f"{OTHER}-2",
            team=OTHER,
            model="claude-opus-4-1",
            user=OTHER,
            workflow=OTHER,
            tags={"kind": OTHER, OTHER: "key"},
        ),
        make_event(event_id=f"{OTHER}-nobody", workflow=OTHER),
    )
    share(shop, f"{OTHER} alone", f"team={OTHER}&group_by=model")
    share(shop, "whatever", f"workflow={OTHER}")
    share(shop, "of search", "team=search&group_by=model")
    with as_worker():
        roll_up(shop.org)
    return shop


def share(shop: Shop, name: str, query: str) -> None:
    save_view(org=shop.org, actor=shop.alice, name=name, query=query, is_shared=True)


@pytest.fixture(scope="module")
def lead(shop: Shop) -> Client:
    person = make_person("lead")
    add_member(org=shop.org, user=person, role=Role.LEAD, teams=list(MINE), actor=None)
    return client_of(person)


CUT = (
    "", "?range=30d", "spend", "spend?group_by=workflow", "spend?group_by=user&then_by=model", "spend?group_by=team",
    "spend?group_by=project&team=answers", "spend?compare=previous&group_by=team_name", "spend?not.team=search",
    "spend?group_by=tags.kind", "spend/values?add=team", "spend/values?add=user", "spend/values?add=tags.kind",
    "events", "events?user=", "events?priced=true", "statements",
    "statements.csv", "members", "organization", "exports", "views", "views?save=team%3Danswers",
    "runs", "runs?sort=cost", "search?q=growthc",
)  # fmt: skip


# Nobody would see the other team's name there.
WITHOUT_NAMES = ("members", "exports", "organization", "events?user=", "spend?group_by=workflow", CUT[6])


@pytest.mark.parametrize("path", CUT)
def test_a_page_shows_the_leads_teams_and_no_other(shop: Shop, lead: Client, path: str) -> None:
    response = lead.get(shop.url(path))
    assert response.status_code == 200
    assert OTHER not in response.content.decode()


@pytest.mark.parametrize("path", [path for path in CUT if path not in WITHOUT_NAMES])
def test_who_sees_all_sees_the_other_team_there(shop: Shop, path: str) -> None:
    assert OTHER in client_of(shop.alice).get(shop.url(path)).content.decode()


@pytest.mark.parametrize("page", ["", "spend", "events", "statements.csv", "members"])
def test_another_team_that_is_asked_for_is_refused(shop: Shop, lead: Client, page: str) -> None:
    for team in (OTHER, "", "nobody"):
        response = lead.get(shop.url(page), query_params={"team": team})
        assert response.status_code == 403, team
        assert "search-event" not in response.content.decode()


@pytest.mark.parametrize("name", ["team_name", "project", "workflow", "user", "run_id", "event_id"])
def test_another_teams_rows_are_not_found_by_any_filter(shop: Shop, lead: Client, name: str) -> None:
    value = {"project": f"{OTHER}-project", "run_id": f"{OTHER}-run", "event_id": f"{OTHER}-event"}.get(name, OTHER)
    page = get(lead, shop.url(f"events?{name}={value}"))
    assert "No event matches" in page.text or page.rows() == []


def test_another_teams_event_and_statement_do_not_exist(shop: Shop, lead: Client) -> None:
    for path in (f"events/{OTHER}-event", f"events/{OTHER}-nobody", "events/never-was"):
        assert lead.get(shop.url(path)).status_code == 404, path
    for slug in MINE:
        assert lead.get(shop.url(f"events/{slug}-event")).status_code == 200
    content = client_of(shop.alice).get(shop.url("statements")).content.decode()
    statements = {link for link in content.split('"') if "/statements/" in link and "%3A" in link}
    mine = {link for link in statements if link.endswith(MINE)}
    assert (len(mine), len(statements)) == (2, 4)
    for link in statements:
        assert lead.get(link).status_code == (200 if link in mine else 404), link


def test_a_run_of_another_team_does_not_exist_and_its_child_runs_are_left_out(shop: Shop, lead: Client) -> None:
    child = {"run_id": f"{OTHER}-child", "parent_run_id": "search-run"}
    shop.api.send(make_event(team=OTHER, **child), make_event(team="search", run_id="mine", parent_run_id="search-run"))
    with as_worker():
        roll_up(shop.org)
    for path in (f"runs/{OTHER}-run", f"runs/{OTHER}-child", "runs/never-was"):
        assert lead.get(shop.url(path)).status_code == 404, path
    page = lead.get(shop.url("runs/search-run")).content.decode()
    assert "runs/mine" in page
    assert OTHER not in page
    assert OTHER in client_of(shop.alice).get(shop.url("runs/search-run")).content.decode()
    assert "search-run" not in lead.get(shop.url("runs/mine")).content.decode().split("</header>")[0]


def test_the_rail_leads_where_a_lead_may_go(shop: Shop, lead: Client) -> None:
    page = get(lead, shop.url())
    links = {text_of(link): attribute(link, "href") or "" for link in page.find("a") if attribute(link, "data-go")}
    assert list(links) == [
        "Overview", "Explorer", "Forecast", "Runs", "Events", "Statements", "Signals", "Plans", "Savings", "Members",
        "Organization",
    ]  # fmt: skip
    assert {lead.get(link).status_code for link in links.values()} == {200}
    everything = get(client_of(shop.alice), shop.url())
    assert len([link for link in everything.find("a") if attribute(link, "data-go")]) > 20


def test_of_what_others_share_a_lead_sees_what_is_of_the_team(shop: Shop, lead: Client) -> None:
    for page in ("views", "spend"):
        content = lead.get(shop.url(page)).content.decode()
        assert "of search" in content
        assert "whatever" not in content
    everything = client_of(shop.alice).get(shop.url("views")).content.decode()
    assert all(name in everything for name in (f"{OTHER} alone", "whatever", "of search"))


def test_a_view_that_a_lead_saves_is_of_the_team(shop: Shop, lead: Client) -> None:
    response = lead.post(shop.url("views"), {"name": "mine", "query": f"group_by=model&team={OTHER}", "shared": "on"})
    assert "team=search" in response["Location"]
    assert OTHER not in response["Location"]


def test_the_figures_are_those_of_the_team(shop: Shop, lead: Client) -> None:
    asked = "spend?granularity=none"
    (search,) = get(lead, shop.url(asked)).rows()
    (answers,) = get(lead, shop.url(f"{asked}&team=answers")).rows()
    (alices,) = get(client_of(shop.alice), shop.url(f"{asked}&team=search")).rows()
    assert text_of(search[0]) != text_of(answers[0])
    assert list(map(text_of, search)) == list(map(text_of, alices))


@pytest.mark.parametrize(
    "page",
    ["unattributed", "unpriced", "declared", "prices", "contracts", "reratings", "budgets", "reservations",
     "run-bounds", "stop", "alerts", "alerts/deliveries", "keys", "first-event"],
)  # fmt: skip
def test_a_page_that_is_not_cut_to_a_team_is_closed(shop: Shop, lead: Client, page: str) -> None:
    response = lead.get(shop.url(page))
    assert response.status_code == 403
    assert shop.alice.email in response.content.decode()


def test_of_keys_a_lead_is_told_the_names_of_those_pinned_to_the_team(shop: Shop, lead: Client) -> None:
    theirs = issue_key(org=shop.org, name=f"{OTHER} key", scopes=["ingest"], team=OTHER).key
    everywhere = issue_key(org=shop.org, name=f"{OTHER} of all", scopes=["ingest"]).key
    mine = issue_key(org=shop.org, name="own key", scopes=["ingest"], team="search").key
    alice = client_of(shop.alice)
    for page in ("spend", "events"):
        for name in ("api_key", "not.api_key"):
            for key in (theirs, everywhere):
                asked = shop.url(f"{page}?{name}={key.pk}")
                assert key.name in alice.get(asked).content.decode()
                content = lead.get(asked).content.decode()
                assert str(key.pk) in content
                assert OTHER not in content
            assert mine.name in lead.get(shop.url(f"{page}?{name}={mine.pk}")).content.decode()


def test_an_event_and_a_file_say_the_number_of_a_key_that_is_not_the_teams(shop: Shop, lead: Client) -> None:
    key = issue_key(org=shop.org, name=f"{OTHER} shared", scopes=["ingest"])
    Api(key.secret).send(make_event(event_id="by-key", team="search"))
    question = {"query": "group_by=api_key&team=search", "format": "csv"}
    for client, is_told in ((client_of(shop.alice), True), (lead, False)):
        event = client.get(shop.url("events/by-key")).content.decode()
        file = client.post(shop.url("exports"), question)
        assert file["Content-Type"].startswith("text/csv")
        assert [key.key.name in text for text in (event, b"".join(file).decode())] == [is_told] * 2
        assert str(key.key.pk) in event or is_told
