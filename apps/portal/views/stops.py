"""The emergency stop: what a stop would stop, stopping it, and lifting it."""

from collections.abc import Mapping
from datetime import timedelta

from django.http import HttpResponse, HttpResponseRedirect

from apps.alerts.tasks import hint_tell
from apps.budgets import services
from apps.budgets.models import Stop
from apps.budgets.outlook import spend_series
from apps.budgets.outlook_sql import holding
from apps.budgets.reading import require_target
from apps.budgets.selectors import list_lifted, list_stops
from apps.core.errors import DomainError
from apps.core.money import sum_usd
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.organizations.selectors import list_keys
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, Option
from apps.portal.pages_budgets import StopImpact, StopPage, StopRow
from apps.portal.pages_prices import FormError
from apps.teams.selectors import list_teams, list_workflows

KINDS = {
    "organization": "the whole organization",
    "team": "a team",
    "workflow": "a workflow",
    "key": "an API key",
    "run": "a run",
}
NOUNS = {"team": "team", "workflow": "workflow", "key": "API key", "run": "run"}
# A stop's kind as a scope of a budget, where it is one.
SCOPES = {"team": "team", "workflow": "workflow", "key": "api_key"}
LIFTED_SHOWN = 20
TARGETS_MAX = 500


@organization_page(section="stop", permission=Permission.VIEW_SPEND, writes=Permission.STOP)
def stop(visit: Visit) -> HttpResponse:
    """Two steps: a question (GET) that says what a stop would stop, and the act (POST)."""
    query = visit.request.POST if visit.request.method == "POST" else visit.request.GET
    given = {name: str(query.get(name, ""))[:600] for name in ("kind", "target", "reason")}
    if given["kind"] == Stop.Kind.ORGANIZATION:
        given["target"] = ""
    error, impact = None, None
    key_names = _key_names(visit)
    try:
        if visit.request.method == "POST":
            services.stop(org=visit.org, actor=visit.user, **given)
            hint_tell(visit.org.pk)
            return HttpResponseRedirect(visit.url("stop"))
        if given["kind"]:
            impact = _impact(visit, given, key_names)
    except DomainError as wrong:
        error = FormError.of(wrong)
        if wrong.param == "reason":
            impact = _impact(visit, given, key_names)
    page = _page(visit, given, impact, error, key_names)
    return visit.render(
        "portal/stop.html", frame=visit.frame("Emergency stop", Crumb("Emergency stop")), stop=page, error=error
    )


@organization_page(section="stop", permission=Permission.VIEW_SPEND, writes=Permission.STOP, is_act=True)
def lift(visit: Visit, stop_id: int) -> HttpResponse:
    services.lift(org=visit.org, stop_id=stop_id, actor=visit.user)
    hint_tell(visit.org.pk)
    return HttpResponseRedirect(visit.url("stop"))


def _key_names(visit: Visit) -> dict[str, str]:
    with tenant(visit.org):
        return {str(key.pk): f"{key.name} ({key.hint})" for key in list_keys(visit.org)}


def words(kind: str, target: str, key_names: Mapping[str, str]) -> str:
    if kind == Stop.Kind.ORGANIZATION:
        return "the whole organization"
    return f"{NOUNS[kind]} {key_names.get(target, target) if kind == Stop.Kind.KEY else target}"


def _impact(visit: Visit, given: Mapping[str, str], key_names: Mapping[str, str]) -> StopImpact:
    """Raises `DomainError` where there is nothing of that name to stop."""
    kind = given["kind"]
    if kind not in Stop.Kind.values:
        raise DomainError("stop_kind_unknown", f"'{kind[:64]}' cannot be stopped: choose from the list.", param="kind")
    with tenant(visit.org):
        target = require_target(visit.org, kind, given["target"])
        held = holding(visit.org.pk, kind, target)
    points = None
    if kind != Stop.Kind.RUN:
        scope = {SCOPES[kind]: target} if kind in SCOPES else {}
        points = spend_series(visit.org, scope, "hour", visit.at - timedelta(hours=24), visit.at)
    return StopImpact(
        what=words(kind, target, key_names),
        calls=None if points is None else sum(point.calls for point in points),
        cost_usd=None if points is None else sum_usd(point.cost_usd for point in points),
        reservations=held.reservations,
        held_usd=held.held_usd,
        leases=held.leases,
        leases_until=held.leases_until,
    )


def _page(
    visit: Visit,
    given: Mapping[str, str],
    impact: StopImpact | None,
    error: FormError | None,
    key_names: Mapping[str, str],
) -> StopPage:
    with tenant(visit.org):
        standing = list_stops(visit.org)
        lifted = list_lifted(visit.org, LIFTED_SHOWN)
        teams = [(team.slug, "team") for team in list_teams(visit.org)]
        workflows = [(workflow.slug, "workflow") for workflow in list_workflows(visit.org)]
    keys = [(number, f"API key {name}") for number, name in key_names.items()]
    return StopPage(
        standing=tuple(_row(visit, row, key_names) for row in standing),
        lifted=tuple(_row(visit, row, key_names) for row in lifted),
        kinds=tuple(Option(kind, label, kind == given["kind"]) for kind, label in KINDS.items()),
        given=given,
        targets=tuple([*teams, *workflows, *keys][:TARGETS_MAX]),
        impact=impact,
        error=error,
        may_stop=visit.may(Permission.STOP),
    )


def _row(visit: Visit, row: Stop, key_names: Mapping[str, str]) -> StopRow:
    what = words(row.kind, row.target, key_names)
    return StopRow(
        id=row.pk,
        what=f"{what[0].upper()}{what[1:]}",
        reason=row.reason,
        stopped_by=row.stopped_by,
        stopped_at=row.stopped_at,
        lift_url=f"{visit.url_below('stop', str(row.pk))}/lift",
        lifted_by=row.lifted_by,
        lifted_at=row.lifted_at,
    )
