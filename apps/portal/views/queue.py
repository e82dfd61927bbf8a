"""Names that events say and nobody made known: the queue, settling one, and what was mapped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from django.http import HttpResponse, HttpResponseRedirect, QueryDict

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_names import (
    AliasesPage,
    AliasRow,
    FlowRow,
    FlowsPage,
    NameForm,
    Settling,
    UnattributedPage,
    UnattributedRow,
)
from apps.portal.pages_prices import FormError
from apps.portal.ranges import Span
from apps.portal.scopes import known_slugs
from apps.portal.spending import question, ratio, summed_cost
from apps.portal.views.names import GIVEN_MAX, create
from apps.reports.selectors import SpendQuestion, Sums, spend
from apps.teams import selectors, services
from apps.teams.attribution import KINDS, Names
from apps.teams.models import NAME_LENGTH_MAX, Alias
from apps.usage.attribution_preview import Place, Preview, preview_creation, preview_mapping
from apps.usage.postings import known_names

ROWS_SHOWN = 100
ALIASES = 50
FLOWS_SHOWN = 20
ACTS = ("map", "create")
# What a new one belongs to.
ABOVE = {"team": "", "project": "team", "workflow": "project"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A group over the range: the local days it was first and last seen on where they are known, and its sums."""

    groups: tuple[str | None, ...]
    first: date | None
    last: date | None
    parts: tuple[Sums, ...]

    @property
    def events(self) -> int:
        return sum(part.events for part in self.parts)

    @property
    def unpriced_events(self) -> int:
        return sum(part.unpriced_events for part in self.parts)

    @property
    def cost_usd(self) -> Decimal | None:
        return summed_cost(self.parts)


@organization_page(section="unattributed", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES)
def unattributed(visit: Visit) -> HttpResponse:
    """The queue. An address with `act`, `kind` and `name` opens the form that settles a name; it previews or acts."""
    span, settling = visit.span(), None
    if visit.request.method == "POST":
        given = _given(visit.request.POST)
        try:
            if visit.request.POST.get("step") != "preview":
                _settle(visit, given)
                return HttpResponseRedirect(visit.url("unattributed", span.parameters))
            settling = _settling(visit, span, given, looked=_look(visit, given))
        except DomainError as wrong:
            settling = _settling(visit, span, given, wrong=wrong)
    elif visit.request.GET.get("act") in ACTS:
        settling = _settling(visit, span, _given(visit.request.GET))
    everything = spend(visit.org, question(span, ("team",)))
    nobody = next((row.sums for row in everything.rows if row.groups == (None,)), Sums())
    with tenant(visit.org):
        names = selectors.load_names(visit.org)
    rows = [row for kind in KINDS for row in _names(visit, span, kind, names)]
    page = UnattributedPage(
        events=nobody.events,
        cost_usd=nobody.cost_usd,
        share=ratio(nobody.cost_usd, everything.total.cost_usd),
        rows=tuple(rows[:ROWS_SHOWN]),
        row_count=len(rows),
        url=visit.url("events", {"team": "", **span.parameters}),
        settling=settling,
        may_change=visit.may(Permission.MANAGE_NAMES),
        mapped_url=visit.url("aliases"),
        rule_url=visit.url("rule_new"),
    )
    frame = visit.frame("Unattributed", Crumb("Unattributed"), span=span, as_of=everything.as_of)
    error = settling.form.error if settling else None
    return visit.render("portal/unattributed.html", frame=frame, unattributed=page, error=error)


# --- one name ----------------------------------------------------------------------------------------


def _given(query: QueryDict) -> dict[str, str]:
    names = ("act", "kind", "name", "slug", "title", "of")
    return {name: str(query.get(name, ""))[:GIVEN_MAX].strip(" ") for name in names}


def _settling(
    visit: Visit,
    span: Span,
    given: Mapping[str, str],
    *,
    looked: Preview | None = None,
    wrong: DomainError | None = None,
) -> Settling:
    """The form of one name, with what it would move or what was wrong."""
    act = given["act"] if given["act"] in ACTS else "map"
    kind = given["kind"] if given["kind"] in KINDS else "team"
    of = kind if act == "map" else ABOVE[kind]
    return Settling(
        act=act,
        kind=kind,
        name=given["name"],
        belongs_to=ABOVE[kind] if act == "create" else "",
        choices=known_slugs(visit, of)[of] if of else (),
        form=NameForm(given, _error(wrong, kind, given["slug"]) if wrong else None),
        flows=flows_page(looked) if looked else None,
        cancel_url=visit.url("unattributed", span.parameters),
    )


def _error(wrong: DomainError, kind: str, slug: str) -> FormError:
    if isinstance(wrong, NotFound):
        return FormError("slug", f"There is no {kind} '{slug}': choose one from the list, or create the name.")
    return FormError("of" if wrong.param == ABOVE[kind] else wrong.param or "", wrong.detail)


def _settle(visit: Visit, given: Mapping[str, str]) -> None:
    kind, name = given["kind"], given["name"]
    if given["act"] == "create":
        create(visit, kind, slug=name, name=given["title"], of=given["of"])
    else:
        services.map_name(org=visit.org, kind=kind, name=name, slug=given["slug"], actor=visit.user)


def _look(visit: Visit, given: Mapping[str, str]) -> Preview:
    kind, name = given["kind"], given["name"]
    if given["act"] == "create":
        return preview_creation(visit.org, kind=kind, slug=name, belongs_to=given["of"], at=visit.at)
    return preview_mapping(visit.org, kind=kind, name=name, slug=given["slug"], at=visit.at)


def flows_page(looked: Preview) -> FlowsPage:
    return FlowsPage(
        events=looked.events,
        unpriced_events=looked.unpriced_events,
        cost_usd=looked.cost_usd,
        rows=tuple(
            FlowRow(_place(flow.before), _place(flow.after), flow.events, flow.unpriced_events, flow.cost_usd)
            for flow in looked.flows[:FLOWS_SHOWN]
        ),
        row_count=len(looked.flows),
        since=looked.start if looked.is_cut else None,
    )


def _place(place: Place) -> str:
    """As `team / project / workflow`, with a dash for what is missing in between; "" where all is."""
    return " / ".join(slug or "—" for slug in place).removesuffix(" / —").removesuffix(" / —").removeprefix("—")


# --- the queue ---------------------------------------------------------------------------------------


def _names(visit: Visit, span: Span, kind: str, names: Names) -> Iterable[UnattributedRow]:
    known = known_names(names, kind)
    for seen in _seen(visit, span, replace(question(span, (f"{kind}_name",)), filters={kind: ""})):
        name = seen.groups[0]
        # A project or a workflow is optional; only a name that leads nowhere needs somebody.
        if name is None and kind != "team":
            continue
        yield UnattributedRow(
            kind=kind,
            name=name,
            first_seen=seen.first,
            last_seen=seen.last,
            events=seen.events,
            cost_usd=seen.cost_usd,
            unpriced_events=seen.unpriced_events,
            url=visit.url("events", {kind: "", f"{kind}_name": name or "", **span.parameters}),
            is_known=name in known,
            map_url=_settle_url(visit, span, "map", kind, name),
            create_url=_settle_url(visit, span, "create", kind, name),
        )


def _settle_url(visit: Visit, span: Span, act: str, kind: str, name: str | None) -> str:
    asked = {"act": act, "kind": kind, "name": name or "", **span.parameters}
    return visit.url("unattributed", asked) + "#settle"


def _seen(visit: Visit, span: Span, asked: SpendQuestion) -> list[Seen]:
    """Each group of the answer, most events first. Where days make it too long for one answer, they are left out."""
    by_day = spend(visit.org, replace(asked, granularity="day"))
    if by_day.following is not None:
        rows = spend(visit.org, asked).rows
        found = [Seen(row.groups, None, None, (row.sums,)) for row in rows if row.sums.events]
        return sorted(found, key=lambda seen: -seen.events)
    groups: dict[tuple[str | None, ...], list[tuple[date, Sums]]] = {}
    for row in by_day.rows:
        if row.sums.events and row.bucket is not None:
            groups.setdefault(row.groups, []).append((_local_day(span, row.bucket), row.sums))
    found = [Seen(group, days[0][0], days[-1][0], tuple(sums for _, sums in days)) for group, days in groups.items()]
    return sorted(found, key=lambda seen: -seen.events)


def _local_day(span: Span, bucket: datetime) -> date:
    return max(bucket.astimezone(span.calendar.zone_at(bucket)).date(), span.first_day)


# --- what was mapped ---------------------------------------------------------------------------------


@organization_page(section="unattributed", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES)
def aliases(visit: Visit) -> HttpResponse:
    """The list; its forms remove a mapping each."""
    if visit.request.method == "POST":
        kind, name = (str(visit.request.POST.get(field, ""))[:GIVEN_MAX] for field in ("kind", "name"))
        try:
            services.remove_alias(org=visit.org, kind=kind, name=name, actor=visit.user)
        except NotFound:
            raise DomainError("not_found", f"'{name[:64]}' is not mapped any more.") from None
        return HttpResponseRedirect(visit.url("aliases"))
    after = _alias_after(visit)
    with tenant(visit.org):
        found = selectors.find_aliases(visit.org, after=after or ("", ""), limit=ALIASES + 1)
    last = found[ALIASES - 1] if len(found) > ALIASES else None
    page = AliasesPage(
        rows=tuple(_alias_row(visit, alias) for alias in found[:ALIASES]),
        may_change=visit.may(Permission.MANAGE_NAMES),
        queue_url=visit.url("unattributed"),
        first_url=visit.url("aliases") if after else None,
        next_url=visit.url("aliases", {"cursor": cursor_of((last.kind, last.name))}) if last else None,
    )
    crumbs = (Crumb("Unattributed", visit.url("unattributed")), Crumb("Mapped names"))
    return visit.render("portal/aliases.html", frame=visit.frame("Mapped names", *crumbs), aliases=page)


def _alias_after(visit: Visit) -> tuple[str, str] | None:
    try:
        found: tuple[str, str] = position_of(visit.request.GET.get("cursor", ""), tuple[str, str])
    except DomainError:
        return None
    return found if all(is_name(part, NAME_LENGTH_MAX) for part in found) else None


def _alias_row(visit: Visit, alias: Alias) -> AliasRow:
    return AliasRow(
        kind=alias.kind,
        name=alias.name,
        means=alias.slug,
        means_url=visit.url_below(f"{alias.kind}s", alias.slug),
        since=alias.created_at,
        change_url=_settle_url(visit, visit.month(), "map", alias.kind, alias.name),
    )
