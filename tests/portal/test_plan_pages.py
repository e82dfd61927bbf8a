"""Plans on their pages: made from a template, revised, decided on, compared, and what runs without one."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from apps.budgets.models import Budget
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.planner.definition import plan_json
from apps.planner.models import Plan, PlanVersion
from apps.planner.reckoning import reckon
from apps.planner.services import PlanTerms, approve_plan, create_plan, launch_plan
from apps.planner.templates import TEMPLATES
from apps.portal import plan_charts, plan_form
from apps.portal.pages_plans import MonthRow
from apps.teams.services import create_project, create_team, create_workflow
from tests.portal.conftest import client_of, make_person
from tests.portal.reading import Page, get
from tests.portal.shop import as_200, finance, shop, viewer
from tests.world import make_event

__all__ = ["finance", "shop", "viewer"]  # fixtures

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def names(shop):
    team = create_team(org=shop.org, slug="legal")
    create_workflow(org=shop.org, slug="agent", project=create_project(org=shop.org, slug="web", team=team))
    shop.org.refresh_from_db()


@pytest.fixture
def engineer(shop):
    person = make_person("engineer")
    add_member(org=shop.org, user=person, role=Role.ENGINEER, actor=None)
    return client_of(person)


def plan(shop, name="Support", template="support", workflow="agent", **terms):
    reckoned = reckon(shop.org, TEMPLATES[template].plan, at=NOW)
    return create_plan(
        org=shop.org, terms=PlanTerms(name, workflow, **terms), reckoned=reckoned, origin="template", actor="tests"
    )


def stored(shop):
    with tenant(shop.org):
        return Plan.objects.for_org(shop.org).select_related("team").get()


def form(**fields):
    """The form of a template as the page sends it."""
    given = plan_form.given_of(plan_form_definition())
    return {**given, "name": "Support", "workflow": "agent", "base": "0", "act": "save", **fields}


def plan_form_definition():
    return plan_json(TEMPLATES["support"].plan)


def alert_of(response):
    assert response.status_code == 400, response.content
    page = Page(as_200(response))
    assert len(list(page.find("p", role="alert"))) == 1
    return page


# --- making one -----------------------------------------------------------------------------------------


def test_a_plan_is_made_from_a_template(shop, engineer):
    choice = get(engineer, shop.url("plans/new"))
    assert all(template.title in choice.text for template in TEMPLATES.values())
    begun = get(engineer, shop.url("plans/new?from=support"))
    assert "A run costs about $" in begun.text
    assert "What moves it most" in begun.text
    response = engineer.post(shop.url("plans/new"), form(launch_on="2027-02-01", note="First"))
    made = stored(shop)
    assert (response.status_code, response["Location"]) == (302, shop.url(f"plans/{made.pk}"))
    assert (made.team.slug, made.workflow_slug, made.state, str(made.launch_on)) == (
        "legal", "agent", "draft", "2027-02-01",
    )  # fmt: skip
    page = get(engineer, response["Location"])
    assert "draft" in page.text
    assert "Where a run's money goes" in page.text


def test_reckoning_shows_what_it_comes_to_and_keeps_nothing(shop, engineer):
    body = form(act="reckon", budget_usd="100")
    shown = get_posted(engineer, shop.url("plans/new"), body)
    assert "above 100.00 with a chance of" in shown.text
    cheaper = get_posted(engineer, shop.url("plans/new"), {**body, "steps[0].calls_max": "1", **calls("1", "1", "1")})
    assert run_of(cheaper) < run_of(shown)
    with tenant(shop.org):
        assert not Plan.objects.for_org(shop.org).exists()


def test_calls_beyond_a_threshold_of_price_are_named(shop, engineer):
    assert "cost more than is reckoned here" not in get_posted(engineer, shop.url("plans/new"), form(act="reckon")).text
    long = {f"steps[0].prefix_tokens.{part}": "250000" for part in ("low", "likely", "high")}
    body = form(act="reckon", **{"steps[0].model": "google/gemini-2.5-pro", **long})
    shown = get_posted(engineer, shop.url("plans/new"), body)
    assert "100% of the calls to gemini-2.5-pro send more than 200,000 tokens" in shown.text


def calls(low, likely, high):
    parts = zip(("low", "likely", "high"), (low, likely, high), strict=True)
    return {f"steps[0].calls.{part}": text for part, text in parts}


def get_posted(client, url, body):
    response = client.post(url, body)
    assert response.status_code == 200, response.content
    return Page(response)


def run_of(page):
    found = re.search(r"A run costs about \$([\d.]+)", page.text)
    assert found, page.text
    return Decimal(found[1])


@pytest.mark.parametrize(
    ("fields", "says", "field"),
    [
        ({"runs_per_month.likely": "many"}, "Runs a month, likely is 'many': write a number.", "runs_per_month.likely"),
        (calls("9", "6", "9"), "Step 1, Calls a run, low: is 9, above likely (6)", "steps[0].calls.low"),
        (
            {"steps[0].retry_rate.likely": "120"},
            "Step 1, Attempts that fail, likely: is '120': write per cent",
            "steps[0].retry_rate.likely",
        ),
        ({"steps[0].model": "claude"}, "Step 1, model, model: is ''", "steps[0].model.model"),
        ({"launch_on": "soon"}, "'soon' is no day", "launch_on"),
        ({"workflow": ""}, "workflow has 1 to 256", "workflow"),
        ({"budget_usd": "lots"}, "Your budget is 'lots'", "budget_usd"),
        ({"prices_on": "never"}, "'never' is no day", "prices_on"),
    ],
)
def test_what_is_wrong_is_said_in_words_and_marked(shop, engineer, fields, says, field):
    page = alert_of(engineer.post(shop.url("plans/new"), form(**fields)))
    assert says in page.text
    if field.startswith(("steps[0].calls", "runs")):
        marked = [cell for cell in page.find("td") if "wrong" in str(cell.attributes)]
        assert marked
    with tenant(shop.org):
        assert not Plan.objects.for_org(shop.org).exists()


def test_where_scripts_ask_what_is_wrong_is_answered_too(shop, engineer):
    body = form(act="reckon", **{"runs_per_month.likely": "many"})
    response = engineer.post(shop.url("plans/new"), body, headers={"HX-Request": "true"})
    assert response.status_code == 200
    assert "write a number" in Page(response).text


def test_steps_are_added_and_removed_without_losing_what_was_written(shop, engineer):
    two = get_posted(engineer, shop.url("plans/new"), form(act="add", **{"steps[0].name": "triage"}))
    assert "Step 2: step 2" in two.text
    given = form(act="remove-0", steps="2", **{"steps[0].name": "triage"})
    given |= {name.replace("[0]", "[1]"): text for name, text in given.items() if name.startswith("steps[0]")}
    given["steps[1].name"] = "answer"
    one = get_posted(engineer, shop.url("plans/new"), given)
    assert "Step 1: answer" in one.text
    assert "Step 2" not in one.text


def test_a_model_without_a_price_has_no_total_until_one_is_supposed(shop, engineer):
    body = form(act="reckon", **{"steps[0].model": "acme/own-model"})
    page = get_posted(engineer, shop.url("plans/new"), body)
    assert "No total: unpriced" in page.text
    assert "A run costs" not in page.text
    supposed = {"price[0].model": "acme/own-model", "price[0].input": "1", "price[0].output": "4"}
    assert "A run costs about" in get_posted(engineer, shop.url("plans/new"), {**body, **supposed}).text


def test_runs_that_nobody_made_fit_no_plan(shop, engineer):
    response = engineer.get(shop.url("plans/new?from=fit&workflow=agent"))
    assert response.status_code == 400
    assert "has no runs of the last 28 days" in Page(as_200(response)).text


# --- revising -------------------------------------------------------------------------------------------


def test_a_revision_is_a_new_version_and_a_stale_one_is_refused(shop, engineer):
    made = plan(shop)
    url = shop.url(f"plans/{made.pk}/edit")
    assert "Save as a new version" in get(engineer, url).text
    assert engineer.post(url, form(base="1", note="Fewer", **calls("2", "3", "4"))).status_code == 302
    page = alert_of(engineer.post(url, form(base="1", **calls("1", "2", "3"))))
    assert "is at version 2, and this was made from version 1" in page.text
    with tenant(shop.org):
        assert PlanVersion.objects.for_org(shop.org).count() == 2


def test_what_the_form_shows_is_what_is_saved(shop, engineer):
    """Nothing is lost on the way from a version to its form and back."""
    for template in TEMPLATES.values():
        made = plan(shop, template.name, template.name, f"w-{template.name}")
        with tenant(shop.org):
            before = PlanVersion.objects.for_org(shop.org).get(plan=made).definition
        assert plan_form.definition_of(plan_form.given_of(before)) == {
            **before,
            "steps": [{name: value for name, value in step.items() if value is not None} for step in before["steps"]],
        }


# --- deciding -------------------------------------------------------------------------------------------


def test_finance_approves_with_conditions_and_an_engineer_launches(shop, finance, engineer):
    made = plan(shop)
    url = shop.url(f"plans/{made.pk}")
    assert "Approve version 1" in get(finance, url).text
    assert "Approve version 1" not in get(engineer, url).text
    decide = {"act": "approve", "version": "1", "words": "Cache from day one"}
    assert engineer.post(f"{url}/decide", decide).status_code == 403
    assert finance.post(f"{url}/decide", decide).status_code == 302
    page = get(engineer, url)
    assert "on condition: Cache from day one" in page.text
    assert engineer.post(f"{url}/launch").status_code == 302
    assert "Held against real runs" in get(engineer, url).text
    assert stored(shop).state == "live"


def test_what_is_decided_leads_to_how_it_holds(shop, viewer):
    made = plan(shop)
    here, there = shop.url(f"plans/{made.pk}"), shop.url(f"plans/{made.pk}/against")
    assert there not in get(viewer, here).html
    approve_plan(org=shop.org, plan_id=made.pk, version=1, actor="load_demo")
    page = get(viewer, here)
    assert there in page.html
    assert "The demo approved it" in page.text


@pytest.mark.parametrize(("p99", "drawn"), [("200", True), ("201", False)])
def test_a_tail_is_drawn_where_it_does_not_make_the_rest_flat(p99, drawn):
    amounts = {name: Decimal(usd) for name, usd in (("p10", 20), ("p50", 50), ("p90", 100), ("p99", p99))}
    month = MonthRow(NOW.date(), "1.", Decimal(60), *amounts.values(), over=None)
    spec = json.dumps(plan_charts.fan([month], None)["layer"])
    assert (plan_charts.has_tail([month], None), '"p99"' in spec.replace('"p99": "number"', "")) == (drawn, drawn)


def test_a_rejection_says_why(shop, finance):
    made = plan(shop)
    url = shop.url(f"plans/{made.pk}")
    assert finance.post(f"{url}/decide", {"act": "reject", "version": "1"}).status_code == 400
    finance.post(f"{url}/decide", {"act": "reject", "version": "1", "words": "Too dear"})
    assert "Too dear" in get(finance, url).text
    assert stored(shop).state == "draft"


def test_who_approves_their_own_version_is_marked(shop):
    made = plan(shop)
    owner = client_of(shop.alice)
    owner.post(shop.url(f"plans/{made.pk}/edit"), form(base="1"))
    page = get(owner, shop.url(f"plans/{made.pk}?version=2"))
    assert "You made this version" in page.text
    owner.post(shop.url(f"plans/{made.pk}/decide"), {"act": "approve", "version": "2"})
    assert "own version" in get(owner, shop.url(f"plans/{made.pk}")).text


def test_budget_cap_and_bounds_are_made_with_one_click(shop, finance, engineer):
    made = plan(shop)
    approve_plan(org=shop.org, plan_id=made.pk, version=1, actor="tests")
    url = shop.url(f"plans/{made.pk}")
    assert "Make all three" in get(finance, url).text
    assert engineer.post(f"{url}/controls").status_code == 403
    for _ in range(2):
        assert finance.post(f"{url}/controls").status_code == 302
    with tenant(shop.org):
        assert Budget.objects.for_org(shop.org).filter(ended_at=None).count() == 2
    page = get(finance, url)
    assert "not made" not in page.text
    assert "differs" not in page.text


def test_its_name_and_owner_change_and_it_is_retired(shop, engineer):
    made = plan(shop)
    url = shop.url(f"plans/{made.pk}")
    engineer.post(f"{url}/change", {"name": "Support agent", "owner": shop.alice.email, "launch_on": "2027-03-01"})
    assert f"{shop.alice.email} answers for it" in get(engineer, url).text
    assert engineer.post(f"{url}/change", {"owner": "stranger@example.com"}).status_code == 400
    engineer.post(f"{url}/retire", {"reason": "Never built"})
    page = get(engineer, url)
    assert "retired" in page.text
    assert "Never built" in page.text
    assert "Revise" not in page.text


# --- lists ----------------------------------------------------------------------------------------------


def test_the_list_says_what_each_comes_to_and_how_much_spend_is_planned(shop, viewer):
    shop.api.send(make_event(team="legal", project="web", workflow="agent"))
    made = plan(shop)
    plan(shop, "Other", workflow="other")
    page = get(viewer, shop.url("plans"))
    assert ("Support" in page.text, "Other" in page.text, "New plan" in page.text) == (True, True, False)
    approve_plan(org=shop.org, plan_id=made.pk, version=1, actor="tests")
    launch_plan(org=shop.org, plan_id=made.pk, actor="tests")
    page = get(viewer, shop.url("plans?state=live"))
    assert "Support" in page.text
    assert "Other" not in page.text
    assert "Whatever runs has an approved plan" in page.text


def test_workflows_without_a_plan_lead_to_one(shop, engineer, viewer):
    shop.api.send(make_event(team="legal", project="web", workflow="agent"))
    page = get(engineer, shop.url("plans/missing"))
    assert "Fit one to its runs" in page.text
    assert "Fit one" not in get(viewer, shop.url("plans/missing")).text
    plan(shop, "Waiting")
    assert "Waiting" in get(engineer, shop.url("plans/missing")).text


def test_a_lead_sees_the_plans_of_their_teams(shop):
    lead = make_person("lead")
    add_member(org=shop.org, user=lead, role=Role.LEAD, teams=["legal"], actor=None)
    own, other = plan(shop), plan(shop, "Other", workflow="other")
    client = client_of(lead)
    page = get(client, shop.url("plans"))
    assert "Support" in page.text
    assert "Other" not in page.text
    assert client.get(shop.url(f"plans/{own.pk}")).status_code == 200
    for path in (f"plans/{other.pk}", f"plans/{other.pk}/what-if"):
        assert client.get(shop.url(path)).status_code == 404
    assert client.get(shop.url("plans/new")).status_code == 403


# --- what if --------------------------------------------------------------------------------------------


def test_changes_stand_beside_the_plan_each_and_together(shop, viewer):
    made = plan(shop)
    model = plan_form.model_text(plan_form_definition()["steps"][0]["model"])
    url = shop.url(f"plans/{made.pk}/what-if")
    assert "Name a change above" in get(viewer, url).text
    query = f"?swap_from={model}&swap_to=anthropic/claude-haiku-4-5&price=-50&cap.0=2&volume=2&cache=off"
    page = get(viewer, url + query)
    for name in ("Another model", "Other prices", "Other bounds", "Other volume", "Another cache", "All together"):
        assert name in page.text


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("swap_from=acme/none&swap_to=openai/o3", "The model to replace is acme/none, which no step of the plan uses"),
        ("price=much", "price is 'much'"),
        ("cap.0=0", "The bound of"),
        ("volume=-3", "The number of runs is '-3'"),
        ("cache=never", "The cache is 'never'"),
    ],
)
def test_a_change_that_makes_no_sense_is_said_in_words(shop, viewer, query, says):
    made = plan(shop)
    page = alert_of(viewer.get(shop.url(f"plans/{made.pk}/what-if?{query}")))
    assert says in page.text


def test_forecast_of_a_launch_is_dated_from_the_day_of_the_form(shop, engineer):
    day = (NOW + timedelta(days=40)).date()
    shown = get_posted(engineer, shop.url("plans/new"), form(act="reckon", launch_on=day.isoformat()))
    assert f"1. from {day.day} {day:%b %Y}" in shown.text
