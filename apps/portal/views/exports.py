"""Files of what the explorer shows: small ones at once, large ones from the tray where they wait."""

import io
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from django.http import HttpResponse, HttpResponseRedirect, QueryDict, StreamingHttpResponse

from apps.core.errors import DomainError
from apps.core.periods import month_before, next_month
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.explorer import Asked, read_asked
from apps.portal.filters import label_of
from apps.portal.pages import Crumb
from apps.portal.pages_spend import ExportRow, ExportsPage, FocusForm
from apps.portal.ranges import day_start
from apps.reports import exporting
from apps.reports.export_files import CONTENT_TYPES, file_name, file_of
from apps.reports.models import Export
from apps.reports.selectors import SpendQuestion
from apps.reports.tasks import hint_export
from apps.reports.view_queries import read_day

FOCUS = Export.Format.FOCUS.value
FORMATS = {"csv": "CSV", "xlsx": "XLSX", FOCUS: "FOCUS 1.2"}
# Longer than anything is kept.
FOCUS_DAYS_MAX = 3_660
STATES = {"queued": "waits for its turn", "running": "is being written", "expired": "expired", "failed": "failed"}


@organization_page(section="spend", permission=Permission.VIEW_SPEND, writes=Permission.VIEW_SPEND, within_team=True)
def exports(visit: Visit) -> HttpResponse:
    """The tray. A form of the explorer asks here for a file, and gets it at once where it is small."""
    if visit.request.method == "POST":
        return _focus_asked_for(visit) if visit.request.POST.get("format") == FOCUS else _asked_for(visit)
    return _tray(visit, _last_month(visit))


def _tray(visit: Visit, form: FocusForm) -> HttpResponse:
    found = exporting.list_exports(visit.org, visit.user, sees_all=_sees_all(visit), teams=visit.teams)
    page = ExportsPage(
        rows=tuple(_row(visit, export) for export in found),
        focus=form,
        is_working=any(export.state in exporting.UNFINISHED for export in found),
        url=visit.url("exports"),
        explorer_url=visit.url("spend"),
    )
    crumbs = (Crumb("Explorer", visit.url("spend")), Crumb("Exports"))
    frame = visit.frame("Exports", *crumbs)
    return visit.render("portal/exports.html", error=form.error, frame=frame, exports=page)


def _asked_for(visit: Visit) -> HttpResponse:
    given = visit.request.POST
    asked, kind = read_asked(visit, QueryDict(given.get("query", ""))), given.get("format", "")
    if kind not in CONTENT_TYPES:
        raise DomainError("format_unknown", f"'{kind[:64]}' is no format: use csv or xlsx.", param="format")
    return _written(visit, _title(asked), kind, asked.question)


def _written(visit: Visit, title: str, kind: str, question: SpendQuestion) -> HttpResponse:
    """The file where it is small, else the tray where it will wait."""
    wanted = exporting.Asked(
        actor=visit.user,
        title=title,
        format=kind,
        question=question,
        team=question.filters["team"] if visit.teams is not None else "",
    )
    out = io.BytesIO()
    written = exporting.file_at_once(visit.org, wanted, out)
    if written is not None:
        response = HttpResponse(out.getvalue(), content_type=CONTENT_TYPES[kind])
        response["Content-Disposition"] = _attachment(file_name(title, kind))
        response["X-Unpriced-Events"] = str(written.unpriced_events)
        return response
    exporting.ask_export(org=visit.org, asked=wanted)
    hint_export(visit.org.pk)
    return HttpResponseRedirect(visit.url("exports"))


# --- FOCUS ---------------------------------------------------------------------------------------------


def _last_month(visit: Visit) -> FocusForm:
    month = month_before(visit.calendar.month_of(visit.at))
    return FocusForm(month.isoformat(), (next_month(month) - timedelta(days=1)).isoformat(), "occurred")


def _focus_asked_for(visit: Visit) -> HttpResponse:
    """Of the days that the form names, or of the month of the first by when it is booked."""
    given = visit.request.POST
    form = FocusForm(given.get("from", "")[:32], given.get("to", "")[:32], given.get("basis", "occurred")[:32])
    try:
        return _written(visit, *_focus_question(visit, form))
    except DomainError as error:
        return _tray(visit, replace(form, error=error.detail, field=error.param or ""))


def _focus_question(visit: Visit, form: FocusForm) -> tuple[str, str, SpendQuestion]:
    first, last = (_day(name, text) for name, text in (("from", form.first_day), ("to", form.last_day)))
    if last < first or (last - first).days > FOCUS_DAYS_MAX:
        raise DomainError("range_empty", f"The last day lies on or after {first}, within ten years.", param="to")
    start, end = (day_start(visit.calendar, day) for day in (first, last + timedelta(days=1)))
    question = SpendQuestion(start=start, end=end, basis=form.basis, filters=visit.cut({}))
    return f"FOCUS 1.2, {first} to {last}", FOCUS, question


def _day(name: str, text: str) -> date:
    day = read_day(text)
    if day is None:
        raise DomainError(f"{name}_invalid", f"'{text}' is no day: write one like 2026-10-01.", param=name)
    return day


def _title(asked: Asked) -> str:
    words = " and ".join(label_of(name).lower() for name in asked.groups)
    return f"Spend by {words}, {asked.span.label}"[:300]


def _attachment(name: str) -> str:
    return f'attachment; filename="{name}"'


@organization_page(section="spend", permission=Permission.VIEW_SPEND, within_team=True)
def export_file(visit: Visit, export_id: int) -> HttpResponse:
    export = exporting.export_of(visit.org, export_id, visit.user, sees_all=_sees_all(visit), teams=visit.teams)
    file = file_of(visit.org, export, takes_gzip="gzip" in visit.request.headers.get("Accept-Encoding", ""))
    response = StreamingHttpResponse(file.pieces, content_type=file.content_type)
    response["Content-Disposition"] = _attachment(file.name)
    if file.is_packed:
        response["Content-Encoding"] = "gzip"
    if file.size_bytes is not None:
        response["Content-Length"] = str(file.size_bytes)
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
        format=FORMATS[export.format],
        person=None if export.person_id == visit.user.pk else export.made_by,
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
        left_out = f", {formats.count(export.unpriced_events)} calls unpriced" if export.unpriced_events else ""
        return f"{formats.count(export.row_count)} rows{left_out}"
    if export.state == Export.State.RUNNING and export.row_count:
        return f"{formats.count(export.rows_done)} of {formats.count(export.row_count)} rows"
    return STATES[export.state]


def _size(size: int) -> str:
    return f"{max(1, size // 1024)} KiB" if size < 2**20 else f"{Decimal(size) / 2**20:.1f} MiB"
