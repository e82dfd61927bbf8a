"""Re-ratings: what was priced again, a new preview, and one of them with what it changes."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError, NotFound
from apps.core.money import EXACT, sum_usd
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_prices import (
    FormError,
    ReratingForm,
    ReratingLineRow,
    ReratingPage,
    ReratingRow,
    ReratingsPage,
)
from apps.pricing.models import CatalogVersion
from apps.usage import rerating
from apps.usage.models import Rerating, ReratingLine
from apps.usage.rerating import RUNNING, State, Totals
from apps.usage.tasks import hint_rerate

ROWS = 50
VERSIONS = 20
LINES = 500
FILTERS = (
    ("provider", "Provider"),
    ("model", "Model"),
    ("team", "Team"),
    ("project", "Project"),
    ("workflow", "Workflow"),
    ("service_tier", "Service tier"),
)
SAYS = {
    State.PREVIEWING: "Events are being priced again. Nothing changes yet; you can leave this page.",
    State.PREVIEWED: "This is what posting would change. Events are never edited and closed months stay as they are.",
    State.POSTING: "Differences are being posted. You can leave this page, or stop and go on later.",
    State.STOPPED: "Stopped. What is posted stays posted; go on where it was, or leave it.",
    State.POSTED: "Posted. Events, rollups and statements hold the difference.",
    State.STALE: "Prices or contracts changed since this preview, so it can no longer be posted. Preview again.",
}
ACTS = {
    State.PREVIEWING: (("stop", "Stop"),),
    State.POSTING: (("stop", "Stop"),),
    State.STOPPED: (("resume", "Go on"),),
}
SERVICES = {"post": rerating.post, "stop": rerating.stop, "resume": rerating.resume}


@organization_page(section="reratings", permission=Permission.VIEW_SPEND)
def reratings(visit: Visit) -> HttpResponse:
    with tenant(visit.org):
        found = list(rerating.list_reratings(visit.org)[:ROWS])
        totals = rerating.totals_of_each(visit.org, [one.rerating_id for one in found])
    rows = tuple(_row(visit, one, totals[one.rerating_id]) for one in found)
    page = ReratingsPage(rows, visit.may(Permission.MANAGE_PRICES), visit.url("rerating_new"))
    return visit.render("portal/reratings.html", frame=visit.frame("Re-rating", Crumb("Re-rating")), reratings=page)


def _row(visit: Visit, one: Rerating, totals: Totals) -> ReratingRow:
    return ReratingRow(
        url=visit.url_below("reratings", str(one.rerating_id)),
        reason=one.reason,
        actor=one.actor,
        created_at=one.created_at,
        state=one.state,
        difference_usd=totals.difference_usd,
    )


@organization_page(section="reratings", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PRICES)
def rerating_new(visit: Visit) -> HttpResponse:
    error = None
    given = {name: str(value)[:600] for name, value in visit.request.GET.items()}
    if visit.request.method == "POST":
        given = {name: str(value)[:600] for name, value in visit.request.POST.items()}
        try:
            started = _start(visit, given)
            hint_rerate(visit.org.pk)
            return HttpResponseRedirect(visit.url_below("reratings", str(started.rerating_id)))
        except DomainError as wrong:
            error = FormError((wrong.param or "").removeprefix("filters."), wrong.detail)
    today = visit.at.astimezone(visit.calendar.zone_at(visit.at)).date()
    defaults = {"from": today.replace(day=1).isoformat(), "to": today.isoformat()}
    versions = CatalogVersion.objects.order_by("-id")[:VERSIONS]
    form = ReratingForm(
        versions=tuple((v.id, f"{v.id}: {v.source} {v.source_version}, {v.loaded_at:%-d %b %Y}") for v in versions),
        filters=FILTERS,
        given={**defaults, **given},
        error=error,
    )
    crumbs = (Crumb("Re-rating", visit.url("reratings")), Crumb("New"))
    return visit.render(
        "portal/rerating_new.html", frame=visit.frame("Price events again", *crumbs), form=form, error=error
    )


def _start(visit: Visit, given: Mapping[str, str]) -> Rerating:
    start, last = visit.day_start(given.get("from", "")), visit.day_start(given.get("to", ""))
    if start is None or last is None:
        raise DomainError("range_invalid", "Give the first and the last day, as 2026-11-01.", param="from")
    filters = {name: given[name].strip() for name, _ in FILTERS if given.get(name, "").strip()}
    if given.get("priced") in ("true", "false"):
        filters["priced"] = given["priced"]
    version = given.get("catalog_version", "")
    return rerating.start_preview(
        org=visit.org,
        actor=visit.user,
        reason=given.get("reason", ""),
        start=start,
        end=visit.calendar.day(last + timedelta(hours=30)),
        filters=filters,
        catalog_version=int(version) if version.isdecimal() and len(version) < 9 else None,
    )


@organization_page(section="reratings", permission=Permission.VIEW_SPEND)
def rerating_page(visit: Visit, rerating_id: uuid.UUID) -> HttpResponse:
    with tenant(visit.org):
        one = rerating.rerating_by_id(visit.org, rerating_id)
        totals = rerating.totals_of(visit.org, rerating_id)
        lines = list(rerating.lines_of(visit.org, rerating_id)[:LINES])
    page = _page(visit, one, totals, lines)
    crumbs = (Crumb("Re-rating", visit.url("reratings")), Crumb(formats.clock(one.created_at, "UTC")))
    frame = visit.frame(f"Re-rating: {one.reason[:80]}", *crumbs)
    return visit.render("portal/rerating.html", frame=frame, rerating=page)


def _page(visit: Visit, one: Rerating, totals: Totals, lines: list[ReratingLine]) -> ReratingPage:
    acts = ACTS.get(State(one.state), ())
    if one.state == State.PREVIEWED and totals.events:
        acts = (("post", f"Post {_signed(totals.difference_usd)} USD"),)
    expected = max(one.expected, one.scanned, 1)
    return ReratingPage(
        id=str(one.rerating_id),
        state=one.state,
        says=SAYS[State(one.state)],
        reason=one.reason,
        actor=one.actor,
        created_at=one.created_at,
        posted_by=one.posted_by,
        posted_at=one.posted_at,
        start=one.start,
        end=one.end,
        scope=", ".join(f"{name} {value or 'none'}" for name, value in one.filters.items()) or "every event",
        version=one.catalog_version,
        scanned=one.scanned,
        expected=expected,
        share=Decimal(one.scanned) / expected,
        running=one.state in RUNNING,
        lines=tuple(_by_team_and_month(lines)),
        models=tuple(_by_model(lines)),
        events=totals.events,
        newly_priced=totals.newly_priced,
        newly_unpriced=totals.newly_unpriced,
        before_usd=totals.before_usd,
        after_usd=totals.after_usd,
        difference_usd=totals.difference_usd,
        posted_events=totals.posted_events,
        posted_usd=totals.posted_usd,
        left_usd=EXACT.subtract(totals.difference_usd, totals.posted_usd),
        acts=acts if visit.may(Permission.MANAGE_PRICES) else (),
    )


def _signed(usd: Decimal) -> str:
    return formats.money(usd) if usd < 0 else f"+{formats.money(usd)}"


def _by_team_and_month(lines: list[ReratingLine]) -> Iterable[ReratingLineRow]:
    groups: dict[tuple[object, ...], list[ReratingLine]] = defaultdict(list)
    for line in lines:
        groups[line.month, line.team, line.booked_month].append(line)
    for found in groups.values():
        first = found[0]
        before, after = (sum_usd(getattr(line, name) for line in found) for name in ("before_usd", "after_usd"))
        yield ReratingLineRow(
            team=first.team,
            month=first.month,
            booked_month=first.booked_month,
            events=sum(line.events for line in found),
            newly_priced=sum(line.newly_priced for line in found),
            newly_unpriced=sum(line.newly_unpriced for line in found),
            before_usd=before,
            after_usd=after,
            difference_usd=EXACT.subtract(after, before),
            posted_usd=sum_usd(line.posted_usd for line in found),
        )


def _by_model(lines: list[ReratingLine]) -> list[tuple[str, int, Decimal]]:
    groups: dict[str, list[ReratingLine]] = defaultdict(list)
    for line in lines:
        groups[f"{line.provider}/{line.model}"].append(line)
    found = [
        (name, sum(line.events for line in rows), sum_usd(EXACT.subtract(r.after_usd, r.before_usd) for r in rows))
        for name, rows in groups.items()
    ]
    return sorted(found, key=lambda row: -abs(row[2]))


@organization_page(section="reratings", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PRICES, is_act=True)
def rerating_act(visit: Visit, rerating_id: uuid.UUID, act: str) -> HttpResponse:
    if act not in SERVICES:
        raise NotFound("act")
    SERVICES[act](org=visit.org, rerating_id=rerating_id, actor=visit.user)
    hint_rerate(visit.org.pk)
    return HttpResponseRedirect(visit.url_below("reratings", str(rerating_id)))
