"""The audit log: who did what, found, proved and downloaded."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse

from apps.audit.models import AuditEntry
from apps.audit.selectors import (
    ChainState,
    Position,
    Wanted,
    actions_of,
    actors_of,
    chain_state,
    find_entries,
    position_after,
)
from apps.core.cursors import cursor_of
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.audit_words import data_lines, did, who
from apps.portal.filters import Filters, chips_of, filters_of, label_of, names_of_keys
from apps.portal.pages import Crumb, Option, Select, TextField
from apps.portal.pages_audit import AuditPage, AuditRow, Chain
from apps.portal.ranges import Span
from apps.reports.audit_exports import FORMATS

PAGE_ROWS = 50
# Entries of a download that are read, and sent, at once.
CHUNK_ROWS = 500
FIELDS = ("actor", "action", "subject")


@organization_page(section="audit", permission=Permission.VIEW_AUDIT)
def audit(visit: Visit) -> HttpResponse:
    span, filters = visit.span(), _filters(visit)
    after = _position(visit.request.GET.get("cursor"))
    # One snapshot: an entry that is added meanwhile would look like a break.
    with tenant(visit.org, repeatable_read=True):
        page = find_entries(visit.org, _wanted(span, filters), limit=PAGE_ROWS, after=after)
        state = chain_state(visit.org, page.entries)
        actors, actions = actors_of(visit.org), actions_of(visit.org)
    here = {**filters, **span.parameters}
    following = {**here, "cursor": cursor_of(page.following)} if page.following else None
    keys = names_of_keys(visit.org, ("api_key",))
    shown = AuditPage(
        hidden=tuple(span.parameters.items()),
        actor=TextField("actor", label_of("actor"), filters.get("actor", ""), actors),
        action=_actions_select(actions, filters.get("action", "")),
        subject=TextField("subject", label_of("subject"), filters.get("subject", "")),
        chips=chips_of(Filters(filters), {}, lambda left: visit.url("audit", {**left.only, **span.parameters})),
        chain=Chain(state.sequence, state.hash.hex(), state.broken_at),
        rows=tuple(_row(visit, span, entry, keys, state) for entry in page.entries),
        downloads=tuple((ending.upper(), visit.url(f"audit_{ending}", here)) for ending in FORMATS),
        first_url=visit.url("audit", here) if after else None,
        next_url=visit.url("audit", following) if following else None,
    )
    frame = visit.frame("Audit log", Crumb("Audit log"), span=span)
    return visit.render("portal/audit.html", frame=frame, audit=shown)


def _filters(visit: Visit) -> dict[str, str]:
    asked = filters_of(visit.request.GET, FIELDS)
    return {name: asked[name] for name in FIELDS if asked.get(name)}


def _wanted(span: Span, filters: Mapping[str, str]) -> Wanted:
    return Wanted(**filters, start=span.start, end=span.end)


def _position(cursor: str | None) -> Position | None:
    """Where a page before ended; None where the text is no cursor of ours."""
    try:
        return position_after(cursor) if cursor else None
    except DomainError:
        return None


def _actions_select(actions: tuple[str, ...], chosen: str) -> Select:
    known = sorted({*actions, *([chosen] if chosen else [])}, key=did)
    options = [Option("", "anything", not chosen), *(Option(one, did(one), one == chosen) for one in known)]
    return Select("action", label_of("action"), tuple(options))


def _row(visit: Visit, span: Span, entry: AuditEntry, keys: Mapping[str, str], state: ChainState) -> AuditRow:
    return AuditRow(
        sequence=entry.sequence,
        at=entry.at,
        who=who(entry.actor, keys),
        who_url=visit.url("audit", {"actor": entry.actor, **span.parameters}),
        did=did(entry.action),
        did_url=visit.url("audit", {"action": entry.action, **span.parameters}),
        subject=entry.subject,
        lines=data_lines(entry.data),
        hash=bytes(entry.hash).hex(),
        previous_hash=bytes(entry.previous_hash).hex(),
        is_broken=entry.sequence == state.broken_at,
    )


@organization_page(section="audit", permission=Permission.VIEW_AUDIT)
def audit_download(visit: Visit, ending: str) -> StreamingHttpResponse:
    """What the page lists, newest first, as a file of any length."""
    header, write, content_type = FORMATS[ending]
    span = visit.span()
    chunks = _chunks(visit.org, _wanted(span, _filters(visit)), write)
    # What can go wrong shows in the first chunk, while the answer can still be an error.
    response = StreamingHttpResponse(chain([header, next(chunks)], chunks), content_type=content_type)
    name = f"audit-{visit.org.slug}-{span.first_day}-to-{span.last_day}.{ending}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _chunks(org: Organization, wanted: Wanted, write: Callable[[Iterable[AuditEntry]], str]) -> Iterator[str]:
    after: Position | None = None
    while True:
        with tenant(org):
            page = find_entries(org, wanted, limit=CHUNK_ROWS, after=after)
        # It goes back to the pool for as long as the reader takes to take this.
        connection.close()
        yield write(page.entries)
        after = page.following
        if after is None:
            return
