"""What people do about budgets on the pages: raising, stopping, bounding, what is held, and who may."""

from decimal import Decimal

import pytest
from django.utils import timezone

from apps.budgets.models import Raise, RunBound, Stop
from apps.budgets.services import end_budget
from apps.organizations.permissions import Role
from apps.organizations.selectors import principal_for
from tests.portal.conftest import client_of
from tests.portal.reading import Page, attribute, find, get, number_of, text_of
from tests.portal.shop import (
    COST,
    FORM,
    HUGE,
    NUL,
    amounts_in,
    as_200,
    ask,
    budget,
    finance,
    hold,
    member,
    named,
    send,
    shop,
    stored,
    text,
    viewer,
)

__all__ = ["finance", "shop", "viewer"]  # fixtures


# --- raises ---


@pytest.mark.parametrize(("act", "limit"), [("approve", 6), ("refuse", 1)])
def test_a_raise_is_asked_for_by_anybody_and_decided_once(shop, viewer, finance, act, limit):
    one = budget(shop)
    assert ask(viewer, shop, one).status_code == 302
    (asked,) = stored(shop, Raise)
    assert asked.state == "asked"
    assert "Approve" not in get(viewer, shop.url(f"budgets/{one.pk}")).text
    assert viewer.post(shop.url(f"budgets/raises/{asked.pk}/{act}")).status_code == 403
    assert "A launch" in get(finance, shop.url(f"budgets/{one.pk}")).text
    for _ in range(2):
        assert finance.post(shop.url(f"budgets/raises/{asked.pk}/{act}")).status_code == 302
    other = {"approve": "refuse", "refuse": "approve"}[act]
    again = finance.post(shop.url(f"budgets/raises/{asked.pk}/{other}"))
    assert again.status_code == 400
    (cells,) = [cells for cells in get(viewer, shop.url("budgets")).rows() if one.name in text_of(cells[0])]
    assert amounts_in(cells[-1]) == [limit]
    assert finance.post(shop.url(f"budgets/raises/{asked.pk}/explode")).status_code == 404


def test_a_raise_of_somebody_who_may_counts_at_once(shop, finance):
    one = budget(shop)
    assert ask(finance, shop, one).status_code == 302
    assert stored(shop, Raise)[0].state == "approved"
    assert "6.00 USD" in get(finance, shop.url(f"budgets/{one.pk}")).text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amount_usd": "much"}, "amount_usd is &#x27;much&#x27;"),
        ({"amount_usd": HUGE}, "amount_usd is"),
        ({"amount_usd": NUL}, "amount_usd is"),
        ({"until": "someday"}, "&#x27;someday&#x27; is no day"),
        ({"until": "2020-01-01"}, "within a year from now"),
        ({"until": "2199-12-31"}, "within a year from now"),
        ({"until": NUL}, "is no day"),
        ({"reason": ""}, "reason has 1 to 500"),
        ({"reason": NUL}, "reason has 1 to 500"),
    ],
)
def test_a_wrong_raise_is_said_and_kept(shop, viewer, wrong, said):
    one = budget(shop)
    response = ask(viewer, shop, one, **{"reason": "<as typed>", **wrong})
    assert response.status_code == 400
    assert said in text(response)
    assert "reason" in wrong or "&lt;as typed&gt;" in text(response)
    assert stored(shop, Raise) == []


def test_no_more_is_asked_for_a_budget_that_ended(shop, viewer):
    one = budget(shop)
    end_budget(org=shop.org, budget_id=one.pk, actor="tests")
    assert ask(viewer, shop, one).status_code == 400


# --- reservations ---


def test_reservations_show_what_is_held_first(shop, viewer):
    held = hold(shop, "0.4", run_id="run-<i>")
    send(shop, reservation_id=hold(shop, "0.001").reservation_id)
    page = get(viewer, shop.url("reservations"))
    states = [text_of(cells[1]).split()[0] for cells in page.rows()]
    assert states == ["held", "settled"]
    assert attribute(page.rows()[0][0], "title") == held.reservation_id
    assert [number_of(page.rows()[1][place]).value for place in (4, 5, 6, 7)] == [
        Decimal("0.001"), Decimal(0), COST - Decimal("0.001"), COST,
    ]  # fmt: skip
    (only,) = get(viewer, shop.url("reservations?state=held")).rows()
    assert "run-<i>" in text_of(only[2])
    assert len(get(viewer, shop.url("reservations?run_id=run-%3Ci%3E")).rows()) == 1
    for query in ("state=released", "run_id=other", "state=settled&run_id=run-%3Ci%3E"):
        assert "None of these" in get(viewer, shop.url(f"reservations?{query}")).text
    for query in ("state=%00", "run_id=%00", f"run_id={HUGE}", "state=nonsense"):
        assert len(get(viewer, shop.url(f"reservations?{query}")).rows()) == 2


# --- emergency stop ---


@pytest.mark.parametrize(
    ("kind", "target"),
    [("organization", ""), ("team", "search"), ("workflow", "rag"), ("key", "{key}"), ("run", "r 1")],
)
def test_what_is_stopped_is_refused_until_it_is_lifted(shop, kind, target):
    engineer, viewer = member(shop, Role.ENGINEER), client_of(shop.bob)
    target = target.format(key=principal_for(shop.api.secret, at=timezone.now()).key_id)
    call = {"project": "answers", "workflow": "rag", "run_id": "r 1"}
    assert hold(shop, **call).decision == "allow"
    asked = Page(engineer.get(shop.url("stop"), {"kind": kind, "target": target}))
    assert "This stops" in asked.text
    assert "1 live reservation of 0.4000 USD" in asked.text
    assert stored(shop, Stop) == []
    given = {"kind": kind, "target": target, "reason": "A loop"}
    assert viewer.post(shop.url("stop"), given).status_code == 403
    assert engineer.post(shop.url("stop"), given).status_code == 302
    assert hold(shop, **call).reasons[0]["code"] == "stopped"
    page = get(viewer, shop.url("stop"))
    assert "A loop" in page.text
    assert "Lift" not in [text_of(button) for button in page.find("button")]
    assert "1 stop in force" in get(viewer, shop.url("budgets")).text
    (row,) = stored(shop, Stop)
    assert viewer.post(shop.url(f"stop/{row.pk}/lift")).status_code == 403
    assert engineer.post(shop.url(f"stop/{row.pk}/lift")).status_code == 302
    assert hold(shop, **call).decision == "allow"
    assert "60 seconds at most" in page.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "planet"}, "&#x27;planet&#x27; cannot be stopped"),
        ({"target": "nobody"}, "There is no team &#x27;nobody&#x27;"),
        ({"target": ""}, "There is no team"),
        ({"target": NUL}, "There is no team"),
        ({"kind": "key", "target": HUGE}, "There is no key"),
        ({"kind": "run", "target": NUL}, "There is no run"),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_wrong_stop_is_said_and_stops_nothing(shop, finance, wrong, said, method):
    response = getattr(finance, method)(shop.url("stop"), {"kind": "team", "target": "search", "reason": "x", **wrong})
    assert response.status_code == 400
    assert said in text(response) or "kind is &#x27;planet&#x27;" in text(response)
    assert stored(shop, Stop) == []


@pytest.mark.parametrize("reason", ["", NUL, "x" * 501])
def test_a_stop_says_why(shop, finance, reason):
    response = finance.post(shop.url("stop"), {"kind": "team", "target": "search", "reason": reason})
    assert response.status_code == 400
    assert "This stops team search." in text(response)
    assert stored(shop, Stop) == []


# --- run bounds ---


def test_bounds_are_set_shown_changed_and_removed(shop, finance, viewer):
    url = shop.url("run-bounds")
    given = {"workflow": "rag", "max_cost_usd": "2.50", "max_steps": "40"}
    assert viewer.post(url, given).status_code == 403
    assert finance.post(url, given).status_code == 302
    (cells,) = get(viewer, url).rows()
    assert [text_of(cell) for cell in cells[:4]] == ["rag", "2.50", "40", "—"]
    form = Page(finance.get(url, {"workflow": "rag"}))
    assert attribute(named(form, "max_cost_usd")[0], "value") == "2.5"
    assert finance.post(url, {"workflow": "rag", "max_seconds": "60"}).status_code == 302
    (row,) = stored(shop, RunBound)
    assert (row.max_cost_usd, row.max_steps, row.max_seconds) == (None, None, 60)
    assert viewer.post(shop.url("run-bounds/rag/remove")).status_code == 403
    assert finance.post(shop.url("run-bounds/rag/remove")).status_code == 302
    assert finance.post(shop.url("run-bounds/rag/remove")).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workflow": "nothing"}, "There is no workflow"),
        ({"workflow": NUL}, "There is no workflow"),
        ({"max_steps": "-1"}, "max_steps is &#x27;-1&#x27;"),
        ({"max_steps": "1.5"}, "max_steps is &#x27;1.5&#x27;"),
        ({"max_steps": "9" * 12}, "max_steps is 9999"),
        ({"max_steps": "²"}, "max_steps is &#x27;²&#x27;"),
        ({"max_cost_usd": "dear"}, "max_cost_usd is &#x27;dear&#x27;"),
        ({"max_cost_usd": HUGE}, "max_cost_usd is"),
        ({"max_seconds": ""}, "Give at least one of"),
    ],
)
def test_a_wrong_bound_is_said_and_kept(shop, finance, wrong, said):
    response = finance.post(shop.url("run-bounds"), {"workflow": "rag", "max_seconds": "60", **wrong})
    assert response.status_code == 400
    assert said in text(response)
    assert "max_seconds" in wrong or 'value="60"' in text(response)
    assert stored(shop, RunBound) == []


def test_a_run_that_reached_its_bound_is_listed(shop, finance, viewer):
    finance.post(shop.url("run-bounds"), {"workflow": "rag", "max_steps": "1"})
    for step in (0, 1):
        send(shop, project="answers", workflow="rag", run_id="run-1", step=step)
    assert "Run run-1 of rag reached its bound on steps: 1" in get(viewer, shop.url("run-bounds")).text


# --- unpriced policy, roles, counts ---


def test_the_unpriced_policy_is_chosen(shop, finance, viewer):
    url = shop.url("budgets/unpriced-policy")
    assert viewer.post(url, {"unpriced_policy": "allow"}).status_code == 403
    assert finance.post(url, {"unpriced_policy": "allow"}).status_code == 302
    radios = named(get(finance, shop.url("budgets")), "unpriced_policy")
    assert [attribute(radio, "value") for radio in radios if "checked" in dict(radio.attributes)] == ["allow"]
    shown = get(viewer, shop.url("budgets"))
    assert "Allow and flag" in shown.text
    assert named(shown, "unpriced_policy") == []
    for wrong in ("", "maybe", NUL, HUGE):
        assert finance.post(url, {"unpriced_policy": wrong}).status_code == 400
    shop.org.refresh_from_db()
    assert shop.org.unpriced_policy == "allow"


@pytest.mark.parametrize(
    ("role", "may_manage", "may_stop"),
    [
        (Role.OWNER, True, True),
        (Role.ADMIN, True, True),
        (Role.FINANCE, True, True),
        (Role.ENGINEER, False, True),
        (Role.VIEWER, False, False),
    ],
)
def test_each_role_may_what_the_matrix_says(shop, role, may_manage, may_stop):
    one = budget(shop)
    client = member(shop, role)
    manages = {
        "budgets/new": FORM,
        f"budgets/{one.pk}/edit": {**FORM, "name": "Other"},
        "run-bounds": {"workflow": "rag", "max_steps": "5"},
        "run-bounds/rag/remove": {},
        "budgets/unpriced-policy": {"unpriced_policy": "refuse"},
        f"budgets/{one.pk}/end": {},
    }
    for path, given in manages.items():
        assert client.post(shop.url(path), given).status_code == (302 if may_manage else 403), path
    assert client.get(shop.url("budgets/new")).status_code == (200 if may_manage else 403)
    stop = {"kind": "team", "target": "search", "reason": "x"}
    assert client.post(shop.url("stop"), stop).status_code == (302 if may_stop else 403)
    for path in ("budgets", f"budgets/{one.pk}", "reservations", "run-bounds", "stop"):
        page = get(client, shop.url(path))
        posts = [attribute(form, "action") for form in find(next(page.find("main")), "form", method="post")]
        # Anybody who sees a budget may ask for a raise.
        if role == Role.VIEWER:
            assert posts == ([None] if path == f"budgets/{one.pk}" and not may_manage else []), path


@pytest.mark.parametrize(
    ("path", "title"),
    [("budgets/new", "Budgets"), ("run-bounds", "Run bounds"), ("stop", "Emergency stop")],
)
def test_who_may_not_is_told_which_permission_it_takes_and_who_gives_it(shop, viewer, path, title):
    answer = viewer.get(shop.url(path)) if path == "budgets/new" else viewer.post(shop.url(path), {})
    assert answer.status_code == 403
    page = Page(as_200(answer))
    assert text_of(next(page.find("h1"))) == title
    assert f"below {title} needs the permission" in page.text
    assert shop.alice.email in page.text
