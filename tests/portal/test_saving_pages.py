"""The pages of savings: what is told, and what is decided there."""

import pytest

from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from tests.insights.desks import Desk, set_desk
from tests.portal.conftest import client_of, make_person
from tests.portal.reading import Page, attribute, find, get, text_of


@pytest.fixture(scope="module")
def desk() -> Desk:
    made = set_desk()
    made.easy(400)
    assert made.find() == 1
    return made


def url(desk: Desk, path: str = "") -> str:
    return f"/o/{desk.tenant.org.slug}/savings{path}"


def one(desk: Desk) -> str:
    (row,) = desk.told(vanished="all").values()
    return url(desk, f"/{row['id']}")


def tiles(page: Page) -> list[str]:
    (figures,) = (each for each in page.find("dl") if attribute(each, "class") == "figures")
    return [text_of(term) for term in find(figures, "dt")]


def test_what_could_be_saved_is_listed_with_its_interval(desk: Desk) -> None:
    page = get(client_of(desk.tenant.owner), url(desk))
    assert "Try claude-haiku-4-5 before claude-sonnet-4-5" in page.text
    assert "Cost only, quality unverified" in page.text
    assert "The total is not the sum of the lines" in page.text
    assert "What was done, and what it saved" in page.text
    assert tiles(page) == ["Open, together"], "nothing is accepted, done or measured: there is no figure of it"


def test_one_shows_how_it_was_reckoned_and_what_would_verify_it(desk: Desk) -> None:
    page = get(client_of(desk.tenant.owner), one(desk))
    for words in (
        "652",
        "a trial needs",
        "runs in each arm",
        "Goes up again, assumed",
        "classification",
        "15.0\u202f%",
    ):
        assert words in page.text, words


def test_the_page_of_the_workflow_tells_its_own(desk: Desk) -> None:
    page = get(client_of(desk.tenant.owner), f"/o/{desk.tenant.org.slug}/workflows/triage")
    assert "What it could save" in page.text
    assert "Try claude-haiku-4-5 before claude-sonnet-4-5" in page.text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"act": "dismiss", "reason": ""}, "Say why"),
        ({"act": "accept", "hours": "many"}, "is no number"),
        ({"act": "accept", "hours": "8"}, "Give both hours and hourly_rate_usd"),
        ({"act": "accept", "trial_runs": "100"}, "give all four of a trial"),
        (
            {"act": "accept", "control_runs": "9", "control_successes": "9", "trial_runs": "9", "trial_successes": "1"},
            "The trial does not show",
        ),
        ({"act": "done", "day": "soon"}, "is no day up to today"),
        ({"act": "done", "day": "2199-01-01"}, "is no day up to today"),
        ({"act": "done", "day": "2020-01-01"}, "name an instant of the last 90 days"),
    ],
)
def test_a_wrong_form_says_what_is_wrong(desk: Desk, form: dict[str, str], words: str) -> None:
    answer = client_of(desk.tenant.owner).post(one(desk), form)
    assert answer.status_code == 400
    assert words in answer.content.decode()


def test_it_is_decided_by_forms(desk: Desk) -> None:
    client, path = client_of(desk.tenant.owner), one(desk)
    assert client.post(path, {"act": "accept", "hours": "8", "hourly_rate_usd": "100"}).status_code == 302
    page = get(client, path)
    assert "Costs once" in page.text
    assert "paid back in" in page.text
    assert client.post(path, {"act": "done"}).status_code == 302
    assert "measured 14 and 30 days after" in get(client, path).text
    assert "after 14 days" in get(client, url(desk)).text
    assert client.post(path, {"act": "reopen"}).status_code == 302
    assert client.post(path, {"act": "dismiss", "reason": "quality first"}).status_code == 302
    assert "quality first" in get(client, url(desk, "?state=dismissed")).text
    assert client.post(path, {"act": "accept"}).status_code == 400
    assert client.post(path, {"act": "reopen"}).status_code == 302


def test_who_only_looks_decides_nothing(desk: Desk) -> None:
    viewer = make_person(Role.VIEWER)
    add_member(org=desk.tenant.org, user=viewer, role=Role.VIEWER, actor=None)
    assert "Who may answer signals decides" in get(client_of(viewer), one(desk)).text
    assert client_of(viewer).post(one(desk), {"act": "accept"}).status_code == 403


def test_a_lead_sees_and_answers_what_is_of_their_teams(desk: Desk) -> None:
    lead, other = make_person(Role.LEAD), make_person(Role.LEAD)
    add_member(org=desk.tenant.org, user=lead, role=Role.LEAD, teams=["support"], actor=None)
    add_member(org=desk.tenant.org, user=other, role=Role.LEAD, teams=["growth"], actor=None)
    assert "Try claude-haiku-4-5" in get(client_of(lead), url(desk)).text
    assert client_of(lead).post(one(desk), {"act": "reopen"}).status_code == 302
    assert "Nothing to recommend" in get(client_of(other), url(desk)).text
    assert client_of(other).get(one(desk)).status_code == 404
    assert client_of(other).post(one(desk), {"act": "accept"}).status_code == 404
