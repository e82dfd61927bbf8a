"""Teams, projects, workflows, names seen in events and rules, as people keep them on the pages."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.teams.models import Alias, AttributionRule, Ownership, Project, Team, Workflow
from apps.teams.rulebook import RuleTerms, create_rule
from apps.teams.services import create_project, create_team, map_name, move_project
from apps.usage.postings import attribute_known_names
from tests.portal.conftest import HOSTILE_NAME, client_of, fill, make_shop
from tests.portal.reading import attribute, find, get, number_of, text_of
from tests.portal.shop import COST, Page, as_200, member, stored, text
from tests.world import make_event

LISTS = ("teams", "projects", "workflows")
NUL = "a\0b"


@pytest.fixture
def shop():
    """search owns search-project, which has search-agent; and so on with growth."""
    shop = make_shop("Asia/Kolkata")
    fill(shop, ("search", "growth"))
    return shop


@pytest.fixture
def engineer(shop):
    return member(shop, Role.ENGINEER)


def said(response):
    """The error of a form, and the fields that it marks."""
    page = Page(as_200(response))
    (alert,) = page.find("p", role="alert")
    wrong = [name for field in page.find("div") if "wrong" in (attribute(field, "class") or "").split()
             for one in find(field, "input") if (name := attribute(one, "name"))]  # fmt: skip
    return text_of(alert), wrong


# --- lists ---


@pytest.mark.parametrize(
    ("page", "given", "model"),
    [
        ("teams", {"slug": "new", "name": "New one"}, Team),
        ("projects", {"slug": "new", "name": "New one", "of": "growth"}, Project),
        ("projects", {"slug": "new", "name": "New one"}, Project),
        ("workflows", {"slug": "new", "name": "New one", "of": "growth-project"}, Workflow),
    ],
)
def test_one_is_made_on_its_page(shop, engineer, page, given, model):
    response = engineer.post(shop.url(page), given)
    assert (response.status_code, response["Location"]) == (302, shop.url(f"{page}/new"))
    assert "New one" in {one.name for one in stored(shop, model)}
    assert "New one" in get(client_of(shop.bob), shop.url(page)).text
    assert get(engineer, response["Location"]).text.count("New one") >= 2


@pytest.mark.parametrize(
    ("page", "given", "error", "field"),
    [
        ("teams", {"slug": ""}, "needs a slug", "slug"),
        ("teams", {"slug": NUL}, "needs a slug", "slug"),
        ("teams", {"slug": "search"}, "There is a team 'search' already", "slug"),
        ("teams", {"slug": "x", "name": "a\x01b"}, "needs a name", "name"),
        ("projects", {"slug": "x", "of": "moon"}, "There is no team 'moon'", "of"),
        ("projects", {"slug": "x", "of": NUL}, "There is no team", "of"),
        ("workflows", {"slug": "x", "of": ""}, "There is no project ''", "of"),
        ("workflows", {"slug": "x", "of": "search"}, "There is no project 'search'", "of"),
    ],
)
def test_what_cannot_be_made_is_said_and_kept(shop, engineer, page, given, error, field):
    before = [len(stored(shop, model)) for model in (Team, Project, Workflow)]
    response = engineer.post(shop.url(page), {"name": "<as typed>", **given})
    assert response.status_code == 400
    detail, wrong = said(response)
    assert error in detail
    assert wrong == [field]
    assert "name" in given or "&lt;as typed&gt;" in text(response)
    assert [len(stored(shop, model)) for model in (Team, Project, Workflow)] == before


@pytest.mark.parametrize(
    "page", [*LISTS, "teams/search", "projects/search-project", "workflows/search-agent", "rules/new"]
)
def test_who_may_only_look_sees_no_forms_and_changes_nothing(shop, page):
    viewer = client_of(shop.bob)
    given = {"slug": "x", "act": "rename", "name": "Other", "scope.user": "u", "gives.team": "search", "of": "search"}
    assert viewer.post(shop.url(page), given).status_code == 403
    if page != "rules/new":
        shown = get(viewer, shop.url(page))
        main = next(shown.find("main"))
        assert [form for form in find(main, "form") if attribute(form, "method") == "post"] == []


def test_a_list_shows_spend_of_the_month_and_what_belongs_to_what(shop):
    shop.api.send(make_event(team="search"))
    rows = {text_of(cells[0]): cells for cells in get(client_of(shop.bob), shop.url("projects")).rows()}
    team, workflows, events, cost = rows["search-project"][1:]
    assert (text_of(team), number_of(workflows).value) == ("search", 1)
    assert number_of(events).value > 1
    assert "unpriced" in text_of(cost)


def test_a_list_is_searched_and_read_page_by_page(shop):
    with tenant(shop.org):
        Team.objects.for_org(shop.org).bulk_create(
            Team(organization=shop.org, slug=f"t{number:03}", name=f"Team {number}") for number in range(120)
        )
    client, found, url = client_of(shop.bob), [], shop.url("teams")
    while url:
        page = get(client, url)
        found += [attribute(cells[0], "title") for cells in page.rows()]
        url = page.link("next")
    assert found == ["growth", "search", *(f"t{number:03}" for number in range(120))]
    assert [attribute(cells[0], "title") for cells in get(client, shop.url("teams?q=TEAM+7")).rows()] == [
        "t007", *(f"t07{number}" for number in range(10))
    ]  # fmt: skip
    assert "No team of that name" in get(client, shop.url("teams?q=nobody")).text


def test_a_hundred_rules_are_enough(shop, engineer):
    for number in range(100):
        terms = RuleTerms(name=f"r{number}", when={"user": "u"}, team="search", workflow="search-agent")
        create_rule(org=shop.org, terms=terms, actor="tests")
    full = engineer.post(shop.url("rules/new"), {"name": "r", "scope.user": "u", "gives.team": "search"})
    assert "100 rules" in said(full)[0]


# --- one of them ---


@pytest.mark.parametrize("page", ["teams/search", "projects/search-project", "workflows/search-agent"])
def test_it_is_renamed_and_its_slug_stays(shop, engineer, page):
    assert engineer.post(shop.url(page), {"act": "rename", "name": HOSTILE_NAME}).status_code == 302
    shown = get(client_of(shop.bob), shop.url(page))
    assert HOSTILE_NAME in shown.text
    assert page.rpartition("/")[2] in shown.text
    response = engineer.post(shop.url(page), {"act": "rename", "name": NUL})
    assert "needs a name" in said(response)[0]
    assert said(response)[1] == ["name"]
    assert HOSTILE_NAME in Page(as_200(response)).text


def test_a_team_is_given_a_cost_centre(shop, engineer):
    url = shop.url("teams/search")
    assert "Cost centre none" in " ".join(get(client_of(shop.bob), url).text.split())
    assert engineer.post(url, {"act": "cost_centre", "cost_centre": f" {HOSTILE_NAME[:64]} "}).status_code == 302
    assert HOSTILE_NAME[:64] in get(client_of(shop.bob), url).text
    refused = engineer.post(url, {"act": "cost_centre", "cost_centre": "c" * 65})
    assert "at most 64" in said(refused)[0]
    assert said(refused)[1] == ["cost_centre"]
    assert "c" * 65 in text(refused)
    renaming = engineer.post(url, {"act": "rename", "name": NUL})
    (field,) = Page(as_200(renaming)).find("input", id="c-cost-centre")
    assert attribute(field, "value") == HOSTILE_NAME[:64].strip()
    assert engineer.post(url, {"act": "cost_centre", "cost_centre": ""}).status_code == 302
    assert {team.cost_centre for team in stored(shop, Team)} == {None}


@pytest.mark.parametrize("act", ["", "explode", "move"])
def test_a_form_that_nobody_wrote_is_refused(shop, engineer, act):
    assert engineer.post(shop.url("teams/search"), {"act": act}).status_code == 400


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("slug", ["nobody", "%00", "x" * 300])
def test_there_is_no_page_of_what_is_not_there(shop, engineer, kind, slug):
    assert engineer.get(shop.url(f"{kind}/{slug}")).status_code == 404
    assert engineer.post(shop.url(f"{kind}/{slug}"), {"act": "rename", "name": "x"}).status_code == 404


def test_any_slug_has_a_page(shop, engineer):
    slug = "a//b/../c?d#e%2F'\""
    made = engineer.post(shop.url("teams"), {"slug": slug})
    assert made["Location"] == shop.url(f"teams/{quote(slug, safe='')}")
    assert slug in get(engineer, made["Location"]).text


def test_a_move_is_previewed_made_and_called_off(shop, engineer):
    url = shop.url("projects/search-project")
    day = datetime.now(UTC) + timedelta(days=5)
    given = {"to": "growth", "at": f"{day:%Y-%m-%d}"}
    looked = Page(engineer.post(url, {**given, "act": "preview"}))
    (status,) = looked.find("div", role="status")
    assert f"From {day:%-d %b %Y}, 00:00:00 IST on, its calls belong to growth" in text_of(status)
    assert "search :" in text_of(status) or "search:" in text_of(status)
    assert len(stored(shop, Ownership)) == 2
    assert engineer.post(url, {**given, "act": "move"}).status_code == 302
    states = [text_of(cells[1]) for cells in get(engineer, url).rows()]
    assert states == ["coming", "now"]
    assert [text_of(cells[1]) for cells in get(engineer, shop.url("teams/growth")).rows()] == ["coming", "now"]
    refused = said(engineer.post(url, {"to": "growth", "act": "move"}))
    assert "goes to growth on" in refused[0]
    assert refused[1] == ["at"]
    there = Page(engineer.post(url, {**given, "act": "preview"}))
    assert "nothing would change" in there.text
    assert engineer.post(url, {"act": "call_off"}).status_code == 302
    assert [text_of(cells[1]) for cells in get(engineer, url).rows()] == ["now"]
    assert engineer.post(url, {"act": "call_off"}).status_code == 400


@pytest.mark.parametrize(
    ("given", "error", "field"),
    [
        ({"to": ""}, "There is no team ''", "to"),
        ({"to": "moon"}, "There is no team 'moon'", "to"),
        ({"to": NUL}, "There is no team", "to"),
        ({"to": "growth", "at": "someday"}, "'someday' is no day", "at"),
        ({"to": "growth", "at": "9999-12-31"}, "'9999-12-31' is no day", "at"),
        ({"to": "growth", "at": NUL}, "is no day", "at"),
    ],
)
@pytest.mark.parametrize("act", ["move", "preview"])
def test_a_wrong_move_is_said_and_changes_nothing(shop, engineer, given, error, field, act):
    detail, wrong = said(engineer.post(shop.url("projects/search-project"), {**given, "act": act}))
    assert error in detail
    assert wrong == [field]
    assert len(stored(shop, Ownership)) == 2


def test_a_workflow_moves_and_gets_an_owner(shop, engineer):
    url = shop.url("workflows/search-agent")
    looked = Page(engineer.post(url, {"act": "preview", "to": "growth-project"}))
    assert "From now on, its calls belong to growth-project" in " ".join(looked.text.split())
    assert engineer.post(url, {"act": "move", "to": "growth-project"}).status_code == 302
    assert "growth-project" in get(engineer, url).text
    stranger = said(engineer.post(url, {"act": "owner", "owner": shop.charlie.email}))
    assert "is no member of" in stranger[0]
    assert stranger[1] == ["owner"]
    assert engineer.post(url, {"act": "owner", "owner": shop.bob.email}).status_code == 302
    assert shop.bob.email in get(engineer, shop.url("workflows")).text
    assert engineer.post(url, {"act": "owner", "owner": ""}).status_code == 302
    assert "nobody" in get(engineer, url).text


# --- the queue ---


def rows_of(page):
    return {(text_of(cells[0]), text_of(cells[1])): cells for cells in page.rows()}


@pytest.mark.parametrize("act", ["map", "create"])
def test_a_name_is_settled_where_it_is_found(act):
    shop = make_shop()
    create_team(org=shop.org, slug="search")
    engineer = member(shop, Role.ENGINEER)
    shop.api.send(make_event(team="serach"), make_event(team="serach"), make_event(team="moon"))
    page = get(engineer, shop.url("unattributed"))
    label = {"map": "Map the team serach", "create": "Create the team serach"}[act]
    (link,) = page.find("a", aria_label=label)
    url = (attribute(link, "href") or "").partition("#")[0]
    form = next(one for one in get(engineer, url).find("section", id="settle"))
    given = {attribute(one, "name"): attribute(one, "value") for one in find(form, "input", type="hidden")}
    given["slug" if act == "map" else "title"] = "search"
    looked = Page(engineer.post(url, {**given, "step": "preview"}))
    assert "2 events and 0.009000 USD would move" in looked.text
    assert "save" in {attribute(one, "value") for one in looked.find("button")}
    assert "save" not in {attribute(one, "value") for one in find(form, "button")}
    assert stored(shop, Alias) == []
    assert engineer.post(url, {**given, "step": "save"}).status_code == 302
    waiting = rows_of(get(engineer, shop.url("unattributed")))["serach", "team"]
    assert "known now" in text_of(waiting[-1])
    shop.org.refresh_from_db()
    assert attribute_known_names(shop.org) == 2
    assert set(rows_of(get(engineer, shop.url("unattributed")))) == {("moon", "team")}
    team = get(engineer, shop.url("teams/search" if act == "map" else "teams/serach"))
    assert number_of(next(find(next(team.find("dd")), "a"))).value == 2 * COST


@pytest.mark.parametrize(
    ("given", "error", "field"),
    [
        ({"act": "map", "kind": "team", "slug": "nobody"}, "There is no team 'nobody'", "slug"),
        ({"act": "map", "kind": "team", "slug": NUL}, "There is no team", "slug"),
        ({"act": "map", "kind": "planet", "slug": "search"}, "'planet' is not one of", None),
        ({"act": "map", "kind": "team", "name": "search", "slug": "growth"}, "is itself a team", None),
        ({"act": "create", "kind": "team", "name": NUL}, "needs a slug", None),
        ({"act": "create", "kind": "planet"}, "'planet' is not one of", None),
        ({"act": "create", "kind": "project", "of": "moon"}, "There is no team 'moon'", "of"),
        ({"act": "create", "kind": "workflow", "of": ""}, "There is no project ''", "of"),
    ],
)
@pytest.mark.parametrize("step", ["preview", "save"])
def test_a_name_that_cannot_be_settled_says_why(shop, engineer, given, error, field, step):
    response = engineer.post(shop.url("unattributed"), {"name": "x", "step": step, **given})
    assert response.status_code == 400
    detail, wrong = said(response)
    assert error in detail
    assert wrong == ([field] if field else [])
    assert stored(shop, Alias) == []


def test_a_viewer_sees_the_queue_and_settles_nothing(shop):
    viewer = client_of(shop.bob)
    page = get(viewer, shop.url("unattributed?range=30d&act=map&kind=team&name=attic"))
    assert "engineers settle names" in page.text
    assert "Map to" not in page.text
    given = {"act": "map", "kind": "team", "name": "attic", "slug": "search"}
    assert viewer.post(shop.url("unattributed"), given).status_code == 403


def test_mapped_names_are_listed_and_removed(shop, engineer):
    for number in range(60):
        map_name(org=shop.org, kind="team", name=f"n{number:02}", slug="search", actor="tests")
    map_name(org=shop.org, kind="workflow", name="<b>'", slug="search-agent", actor="tests")
    found, url = [], shop.url("names")
    while url:
        page = get(engineer, url)
        found += [attribute(cells[0], "title") for cells in page.rows()]
        url = page.link("next")
    assert found == [*(f"n{number:02}" for number in range(60)), "<b>'"]
    given = {"kind": "workflow", "name": "<b>'"}
    assert client_of(shop.bob).post(shop.url("names"), given).status_code == 403
    assert engineer.post(shop.url("names"), given).status_code == 302
    for kind in ("workflow", NUL, "nothing"):
        assert engineer.post(shop.url("names"), {**given, "kind": kind}).status_code == 400, kind
    assert len(stored(shop, Alias)) == 60


# --- rules ---

RULE = {
    "name": "Rag",
    "scope.workflow": "rag-*",
    "tag.0": "app",
    "tag_value.0": "shop",
    "gives.project": "search-project",
}


def test_a_rule_is_previewed_and_made(shop, engineer):
    shop.api.send(*(make_event(workflow=f"rag-{n}", tags={"app": "shop"}) for n in range(3)))
    looked = Page(engineer.post(shop.url("rules/new"), {**RULE, "act": "preview"}))
    assert "3 events and 0.01350 USD would move" in looked.text
    assert "search / search-project" in looked.text
    assert stored(shop, AttributionRule) == []
    assert engineer.post(shop.url("rules/new"), RULE).status_code == 302
    (cells,) = get(client_of(shop.bob), shop.url("rules")).rows()
    expected = ["1. Rag", "Tag app shop Workflow rag-*", "Project search-project"]
    assert [" ".join(text_of(cell).split()) for cell in cells[:3]] == expected
    shop.api.send(make_event(workflow="rag-9", tags={"app": "shop"}))
    shop.org.refresh_from_db()
    assert attribute_known_names(shop.org) == 3


def test_a_rule_is_edited_with_all_its_tags_and_put_elsewhere(shop, engineer):
    when = {f"tags.t{number}": str(number) for number in range(5)}
    first = create_rule(org=shop.org, terms=RuleTerms(name="first", when=when, team="search"), actor="tests")
    second = create_rule(org=shop.org, terms=RuleTerms(name="second", when={"user": "u"}, team="search"), actor="tests")
    page = get(engineer, shop.url(f"rules/{first.pk}"))
    given = {attribute(one, "name"): attribute(one, "value") or "" for one in page.find("input")}
    given = {name: value for name, value in given.items() if name and name.startswith(("scope", "tag", "gives"))}
    assert engineer.post(shop.url(f"rules/{first.pk}"), {**given, "name": "changed"}).status_code == 302
    assert [(one.name, one.when) for one in stored(shop, AttributionRule) if one.pk == first.pk] == [("changed", when)]
    order = lambda: [text_of(cells[0]) for cells in get(engineer, shop.url("rules")).rows()]  # noqa: E731
    assert order() == ["1. changed", "2. second"]
    assert engineer.post(shop.url(f"rules/{second.pk}/up")).status_code == 302
    assert order() == ["1. second", "2. changed"]
    assert client_of(shop.bob).post(shop.url(f"rules/{first.pk}/remove")).status_code == 403
    assert engineer.post(shop.url(f"rules/{first.pk}/remove")).status_code == 302
    assert order() == ["1. second"]
    for act in ("remove", "explode"):
        assert engineer.post(shop.url(f"rules/{first.pk}/{act}")).status_code == 404
    assert engineer.get(shop.url(f"rules/{first.pk}")).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "error", "field"),
    [
        ({"name": ""}, "needs a name", ["name"]),
        ({"name": NUL}, "needs a name", ["name"]),
        ({"scope.workflow": "", "tag.0": "", "tag_value.0": ""}, "of which events it speaks", []),
        ({"scope.user": NUL}, "user is", ["scope.user"]),
        ({"tag.0": ""}, "'tags.' is nothing", []),
        ({"gives.project": ""}, "gives a team, a project or a workflow", ["gives.team"]),
        ({"gives.project": "moon"}, "There is no project 'moon'", ["gives.project"]),
        ({"gives.workflow": NUL}, "There is no workflow", ["gives.workflow"]),
    ],
)
@pytest.mark.parametrize("act", ["preview", ""])
def test_a_wrong_rule_is_said_and_kept(shop, engineer, wrong, error, field, act):
    response = engineer.post(shop.url("rules/new"), {**RULE, **wrong, "act": act})
    assert response.status_code == 400
    detail, marked = said(response)
    assert error in detail
    assert marked == field
    assert stored(shop, AttributionRule) == []


def test_a_project_of_two_teams_in_a_month_is_counted_where_it_was(shop, engineer):
    """The list shows who owns it now; the team's page what it owned before."""
    project = create_project(org=shop.org, slug="moved", team=create_team(org=shop.org, slug="first"))
    with tenant(shop.org):
        growth = Team.objects.for_org(shop.org).get(slug="growth")
    move_project(org=shop.org, project=project, team=growth, at=datetime.now(UTC), actor="tests")
    rows = {text_of(cells[0]): cells for cells in get(engineer, shop.url("projects")).rows()}
    assert text_of(rows["moved"][1]) == "growth"
    (cells,) = get(engineer, shop.url("teams/first")).rows()
    assert [text_of(cell) for cell in cells[:2]] == ["moved", "before"]
