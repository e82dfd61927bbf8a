"""Files of what the explorer shows: small ones at once, large ones from the tray where they wait."""

import io
import re
from decimal import Decimal

from django.http import HttpResponse, HttpResponseRedirect, QueryDict, StreamingHttpResponse

from apps.core.errors import DomainError
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.explorer import Asked, read_asked
from apps.portal.filters import label_of
from apps.portal.pages import Crumb
from apps.portal.pages_spend import ExportRow, ExportsPage
from apps.reports import exporting
from apps.reports.models import Export
from apps.reports.sheets import CONTENT_TYPES
from apps.reports.tasks import hint_export

_UNSAFE_IN_FILES = re.compile(r"[^A-Za-z0-9._-]+")
STATES = {"queued": "waits for its turn", "running": "is being written", "expired": "expired", "failed": "failed"}


@organization_page(section="spend", permission=Permission.VIEW_SPEND, writes=Permission.VIEW_SPEND, within_team=True)
def exports(visit: Visit) -> HttpResponse:
    """The tray. A form of the explorer asks here for a file, and gets it at once where it is small."""
    if visit.request.method == "POST":
        return _asked_for(visit)
    found = exporting.list_exports(visit.org, visit.user, sees_all=_sees_all(visit), teams=visit.teams)
    page = ExportsPage(
        rows=tuple(_row(visit, export) for export in found),
        is_working=any(export.state in exporting.UNFINISHED for export in found),
        url=visit.url("exports"),
        explorer_url=visit.url("spend"),
    )
    crumbs = (Crumb("Explorer", visit.url("spend")), Crumb("Exports"))
    return visit.render("portal/exports.html", frame=visit.frame("Exports", *crumbs), exports=page)


def _asked_for(visit: Visit) -> HttpResponse:
    given = visit.request.POST
    asked, kind = read_asked(visit, QueryDict(given.get("query", ""))), given.get("format", "")
    if kind not in CONTENT_TYPES:
        raise DomainError("format_unknown", f"'{kind[:64]}' is no format: use csv or xlsx.", param="format")
    wanted = exporting.Asked(
        person=visit.user,
        title=_title(asked),
        format=kind,
        question=asked.question,
        team=asked.filters.only["team"] if visit.teams is not None else "",
    )
    out = io.BytesIO()
    if exporting.file_at_once(visit.org, wanted, out):
        response = HttpResponse(out.getvalue(), content_type=CONTENT_TYPES[kind])
        response["Content-Disposition"] = _attachment(wanted.title, kind)
        return response
    exporting.ask_export(org=visit.org, asked=wanted)
    hint_export(visit.org.pk)
    return HttpResponseRedirect(visit.url("exports"))


def _title(asked: Asked) -> str:
    words = " and ".join(label_of(name).lower() for name in asked.groups)
    return f"Spend by {words}, {asked.span.label}"[:300]


def _attachment(title: str, kind: str) -> str:
    name = _UNSAFE_IN_FILES.sub("-", title.lower()).strip("-")[:120]
    return f'attachment; filename="{name}.{kind}"'


@organization_page(section="spend", permission=Permission.VIEW_SPEND, within_team=True)
def export_file(visit: Visit, export_id: int) -> HttpResponse:
    export = exporting.export_of(visit.org, export_id, visit.user, sees_all=_sees_all(visit), teams=visit.teams)
    response = StreamingHttpResponse(exporting.file_of(visit.org, export), content_type=CONTENT_TYPES[export.format])
    response["Content-Disposition"] = _attachment(export.title, export.format)
    response["Content-Length"] = str(export.size_bytes)
    return response  # type: ignore[return-value]  # a response all the same


@organization_page(
    section="spend", permission=Permission.VIEW_SPEND, writes=Permission.VIEW_SPEND, is_act=True, within_team=True
)
def export_delete(visit: Visit, export_id: int) -> HttpResponse:
    exporting.delete_export(
        org=visit.org, export_id=export_id, person=visit.user, sees_all=_sees_all(visit), teams=visit.teams
    )
    return HttpResponseRedirect(visit.url("exports"))


def _sees_all(visit: Visit) -> bool:
    return visit.may(Permission.MANAGE_MEMBERS)


def _row(visit: Visit, export: Export) -> ExportRow:
    is_done = export.state == Export.State.DONE
    share = Decimal(export.rows_done) / export.row_count if export.row_count else None
    return ExportRow(
        id=export.pk,
        title=export.title,
        format=export.format.upper(),
        person=None if export.person_id == visit.user.pk else export.person.email,
        asked_at=export.asked_at,
        state=export.state,
        says=_says(export),
        progress=share if export.state == Export.State.RUNNING else None,
        error=export.error,
        size=_size(export.size_bytes) if is_done else "",
        file_url=f"{visit.url('exports')}/{export.pk}" if is_done else None,
        kept_until=export.finished_at + exporting.KEPT if is_done and export.finished_at else None,
        delete_url=f"{visit.url('exports')}/{export.pk}/delete",
    )


def _says(export: Export) -> str:
    if export.state == Export.State.DONE:
        return f"{formats.count(export.row_count)} rows"
    if export.state == Export.State.RUNNING and export.row_count:
        return f"{formats.count(export.rows_done)} of {formats.count(export.row_count)} rows"
    return STATES[export.state]


def _size(size: int) -> str:
    return f"{max(1, size // 1024)} KiB" if size < 2**20 else f"{Decimal(size) / 2**20:.1f} MiB"
