"""Exports of spend: small ones at once, large ones by a worker, kept for a week where who asked can fetch them.

A worker answers the question in one statement, so that a file adds up, and writes it from there. It claims an export
for a few minutes at a time and says how far it is; where it dies the claim runs out, and the next one begins anew.
A FOCUS file says the same of many rows: it is kept packed.
"""

import gzip
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any, NamedTuple, cast

import structlog
from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.accounts.models import User
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.meters import TOKENS_CACHED, TOKENS_IN, TOKENS_OUT
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import Principal, calendar, list_keys
from apps.reports import dimensions, focus_files, sheets
from apps.reports.export_files import CONTENT_TYPES
from apps.reports.models import Export, Exporter, ExportPart
from apps.reports.selectors import COSTS, Spend, SpendQuestion, SpendRow, check_question, spend_streamed

log = structlog.get_logger(__name__)

AT_ONCE_ROWS_MAX = 5_000
# A group has a few rows, one for each meter.
AT_ONCE_GROUPS_MAX = 2_000
ROWS_MAX = 100_000
FILE_BYTES_MAX = 32 * 2**20
PART_BYTES = 2**20
# Of one person; and of all of an organization, which is what its workers and disks are to bear.
UNFINISHED_MAX, KEPT_MAX = 3, 20
UNFINISHED_OF_ALL_MAX, KEPT_OF_ALL_MAX = 30, 500
# Of other people, on one page.
OTHERS_SHOWN = 100
TRIES_MAX = 3
CLAIM = timedelta(minutes=5)
KEPT, REMEMBERED = timedelta(days=7), timedelta(days=30)
# Rows between two words on how far an export is.
ROWS_A_WORD = 2_000
# Memory that a file may take before it goes to the disk.
SPOOL_BYTES = 4 * 2**20
# Little is won by trying harder.
PACKING = 2

Actor = User | Principal
State = Export.State
UNFINISHED = (State.QUEUED, State.RUNNING)


class ClaimLost(Exception):
    """Somebody else works on it, or nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who wants which file; `team` is what everything in it is cut to, "" where nothing is."""

    actor: Actor
    title: str
    format: str
    question: SpendQuestion
    team: str = ""


class Written(NamedTuple):
    """How many rows a file has, and how many calls of what it is about have no known price."""

    rows: int
    unpriced_events: int


def file_at_once(org: Organization, asked: Asked, out: IO[bytes]) -> Written | None:
    """Write a small file; None, and nothing is written, where it takes a worker."""
    if asked.format == Export.Format.FOCUS:
        if focus_files.extent(org, asked.question).groups > AT_ONCE_GROUPS_MAX:
            return None
        return Written(*focus_files.write(org, asked.question, out))
    try:
        answer, rows = spend_streamed(org, _everything(asked.question, AT_ONCE_ROWS_MAX))
    except DomainError as error:
        if error.code != "query_too_slow":
            raise
        return None
    if answer.row_count > AT_ONCE_ROWS_MAX:
        return None
    sheets.write(_sheet(org, asked, asked.question, answer, rows), asked.format, out)
    return Written(answer.row_count, answer.total.unpriced_events)


def check_asked(org: Organization, asked: Asked) -> None:
    """Raise `DomainError` where no worker could ever write it: `format_unknown`, and what `spend` would refuse."""
    question = asked.question
    if asked.format not in CONTENT_TYPES:
        raise DomainError(
            "format_unknown", f"'{asked.format[:64]}' is no format: use {', '.join(CONTENT_TYPES)}.", param="format"
        )
    if (asked.format == Export.Format.FOCUS) == bool(question.group_by):
        one = (
            "A FOCUS file has its own columns: leave it out" if question.group_by else "Group by one dimension or more"
        )
        raise DomainError("group_by_invalid", f"{one}.", param="group_by")
    kept = [
        *question.filters.items(),
        *((name, value) for name in question.excluded for value in question.excluded[name]),
    ]
    for name, value in kept:
        dimensions.check(name, name[:64])
        if not dimensions.is_possible(name, value):
            raise DomainError("parameter_invalid", f"No event can have '{value[:64]}' as {name[:64]}.", param=name[:64])
    if asked.format == Export.Format.FOCUS:
        focus_files.extent(org, question)
        return
    with tenant(org):
        check_question(question, calendar(org))


def ask_export(*, org: Organization, asked: Asked) -> Export:
    """Queue a file. Raises `DomainError` (`too_many_exports`)."""
    with tenant(org):
        # First, so that two that are asked for at once queue here and are counted one after the other.
        data = {"format": asked.format, "question": question_json(asked.question)}
        audit.record(org=org, actor=asked.actor, action="exports.asked", subject=asked.title, data=data)
        exports = Export.objects.for_org(org)
        maker = _maker(asked.actor)
        _require_room(exports.filter(**maker), "Of yours", UNFINISHED_MAX, KEPT_MAX)
        _require_room(exports, "Of this organization", UNFINISHED_OF_ALL_MAX, KEPT_OF_ALL_MAX)
        Exporter.objects.bulk_create([Exporter(organization=org)], ignore_conflicts=True)
        return exports.create(
            organization=org,
            **maker,
            team=asked.team,
            title=asked.title,
            format=asked.format,
            question=question_json(asked.question),
            asked_at=timezone.now(),
        )


def _maker(actor: Actor) -> dict[str, Any]:
    is_person = isinstance(actor, User)
    return {"person": actor if is_person else None, "made_by_key": "" if is_person else str(actor)}


def _require_room(exports: QuerySet[Export], whose: str, unfinished_max: int, kept_max: int) -> None:
    """Raises `DomainError` (`too_many_exports`)."""
    if exports.filter(state__in=UNFINISHED).count() >= unfinished_max:
        raise DomainError("too_many_exports", f"{whose}, {unfinished_max} exports are being written: wait for one.")
    if exports.filter(state=State.DONE).count() >= kept_max:
        raise DomainError(
            "too_many_exports", f"{whose}, {kept_max} exports are kept: delete one, or wait until one has expired."
        )


def list_exports(
    org: Organization, person: User, *, sees_all: bool, teams: Iterable[str] | None = None
) -> list[Export]:
    """The newest first: a person's own, or everybody's, of others the `OTHERS_SHOWN` newest.

    A lead (`teams`) sees files of the teams led now.
    """
    with tenant(org):
        found = _visible(org, person, sees_all, teams).select_related("person").order_by("-asked_at", "-pk")
        shown = [*found.filter(person=person), *found.exclude(person=person)[:OTHERS_SHOWN]]
    return sorted(shown, key=lambda export: (export.asked_at, export.pk), reverse=True)


def export_of(
    org: Organization, export_id: int, person: User, *, sees_all: bool, teams: Iterable[str] | None = None
) -> Export:
    """Raises `NotFound`, too where its file is not there."""
    with tenant(org):
        return _found(_visible(org, person, sees_all, teams).filter(state=State.DONE), export_id)


def delete_export(
    *, org: Organization, export_id: int, person: User, sees_all: bool, teams: Iterable[str] | None = None
) -> None:
    """Whatever its state: a worker that writes it stops. Raises `NotFound`."""
    with tenant(org):
        _delete(org, person, _found(_visible(org, person, sees_all, teams), export_id))


def _found(exports: QuerySet[Export], export_id: int) -> Export:
    found = exports.filter(pk=export_id).first()
    if found is None:
        raise NotFound("export")
    return found


def _delete(org: Organization, actor: Actor, export: Export) -> None:
    audit.record(org=org, actor=actor, action="exports.deleted", subject=export.title, data={"export": export.pk})
    ExportPart.objects.for_org(org).filter(export_id=export.pk).delete()
    Export.objects.for_org(org).filter(pk=export.pk).delete()


def _visible(org: Organization, person: User, sees_all: bool, teams: Iterable[str] | None) -> QuerySet[Export]:
    found = Export.objects.for_org(org)
    if not sees_all:
        found = found.filter(person=person)
    return found if teams is None else found.filter(team__in=list(teams))


# --- for keys ------------------------------------------------------------------------------------------


def exports_of_keys(org: Organization, *, within: Mapping[str, str], before: int | None, limit: int) -> list[Export]:
    """What keys asked for, the newest first: of a pinned key, what is filtered by all its pins (`within`)."""
    with tenant(org):
        found = _of_keys(org, within).order_by("-pk")
        return list((found if before is None else found.filter(pk__lt=before))[:limit])


def export_of_keys(org: Organization, export_id: int, *, within: Mapping[str, str]) -> Export:
    """Raises `NotFound`."""
    with tenant(org):
        return _found(_of_keys(org, within), export_id)


def delete_export_of_key(*, org: Organization, export_id: int, key: Principal) -> None:
    """One that this very key asked for. Raises `NotFound`."""
    with tenant(org):
        _delete(org, key, _found(Export.objects.for_org(org).filter(made_by_key=str(key)), export_id))


def _of_keys(org: Organization, within: Mapping[str, str]) -> QuerySet[Export]:
    return Export.objects.for_org(org).filter(person=None, question__filters__contains=dict(within))


# --- the worker's side ---------------------------------------------------------------------------------


def work(org: Organization) -> bool:
    """Write the next file; False where none waits. Two that run at once take different ones."""
    claimed = _claim(org)
    if claimed is None:
        return False
    try:
        _produce(org, claimed)
    except ClaimLost:
        log.info("export given up", organization_id=org.pk, export_id=claimed.pk)
    except DomainError as error:
        _end(org, claimed, state=State.FAILED, error=error.detail[:300])
    return True


def _claim(org: Organization) -> Export | None:
    with tenant(org):
        now = timezone.now()
        waiting = Q(state=State.QUEUED) | Q(state=State.RUNNING, claimed_until__lt=now)
        found = Export.objects.for_org(org).filter(waiting).order_by("asked_at", "pk")
        export = found.select_for_update(skip_locked=True).first()
        if export is None:
            return None
        if export.tries >= TRIES_MAX:
            _change(
                org,
                export,
                state=State.FAILED,
                error=f"It was not finished in {TRIES_MAX} tries: ask for fewer rows.",
                claimed_until=None,
                finished_at=now,
            )
            return None
        export.tries += 1
        _change(
            org, export, state=State.RUNNING, tries=export.tries, rows_done=0, row_count=None, claimed_until=now + CLAIM
        )
        return export


def _change(org: Organization, export: Export, **fields: Any) -> None:
    Export.objects.for_org(org).filter(pk=export.pk).update(**fields)


def _produce(org: Organization, export: Export) -> None:
    write = _write_focus if export.format == Export.Format.FOCUS else _write_sheet
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as out:
        written = write(org, export, read_question(export.question), out)
        _store(org, export, out, written)


def _write_focus(org: Organization, export: Export, question: SpendQuestion, out: IO[bytes]) -> Written:
    """All of it in one transaction, which the claim outlasts: a million rows take less than a minute."""
    _hold(org, export)
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=PACKING, mtime=0) as packed:
        return Written(*focus_files.write(org, question, cast("IO[bytes]", packed)))


def _write_sheet(org: Organization, export: Export, question: SpendQuestion, out: IO[bytes]) -> Written:
    question = _everything(question, ROWS_MAX)
    answer, rows = spend_streamed(org, question)
    if answer.row_count > ROWS_MAX:
        raise DomainError(
            "too_many_rows",
            f"It has {answer.row_count} rows, {ROWS_MAX} at most: filter, or group by less.",
        )
    _hold(org, export, row_count=answer.row_count)
    sheets.write(_sheet(org, export, question, answer, _told(org, export, rows)), export.format, out)
    return Written(answer.row_count, answer.total.unpriced_events)


def _told(org: Organization, export: Export, rows: Iterable[SpendRow]) -> Iterator[SpendRow]:
    for number, row in enumerate(rows, start=1):
        yield row
        if number % ROWS_A_WORD == 0:
            _hold(org, export, rows_done=number)


def _hold(org: Organization, export: Export, **progress: int) -> None:
    """Say how far it is and keep the claim. Raises `ClaimLost`."""
    with tenant(org):
        mine = Export.objects.for_org(org).filter(pk=export.pk, state=State.RUNNING, tries=export.tries)
        if not mine.update(claimed_until=timezone.now() + CLAIM, **progress):
            raise ClaimLost


def _store(org: Organization, export: Export, out: IO[bytes], written: Written) -> None:
    """The file in pieces, and the word that it is there, in one transaction."""
    size = out.seek(0, 2)
    if size > FILE_BYTES_MAX:
        raise DomainError(
            "file_too_large", f"It is larger than {FILE_BYTES_MAX // 2**20} MiB: filter, or group by less."
        )
    out.seek(0)
    with tenant(org):
        mine = Export.objects.for_org(org).filter(pk=export.pk, state=State.RUNNING, tries=export.tries)
        if mine.select_for_update().first() is None:
            raise ClaimLost
        number = 0
        while body := out.read(PART_BYTES):
            ExportPart.objects.for_org(org).create(
                organization_id=org.pk, export_id=export.pk, number=number, body=body
            )
            number += 1
        mine.update(
            state=State.DONE,
            rows_done=written.rows,
            row_count=written.rows,
            unpriced_events=written.unpriced_events,
            size_bytes=size,
            claimed_until=None,
            finished_at=timezone.now(),
        )


def _end(org: Organization, export: Export, **fields: Any) -> None:
    with tenant(org):
        mine = Export.objects.for_org(org).filter(pk=export.pk, state=State.RUNNING, tries=export.tries)
        mine.update(claimed_until=None, finished_at=timezone.now(), **fields)


def organizations_with_work(*, at: datetime) -> list[int]:
    """Those with an export to write; what is older than its time is taken away on the way."""
    found = []
    for org_id in Exporter.objects.order_by("pk").values_list("pk", flat=True):
        with tenant(org_id):
            exports = Export.objects.for_org(org_id)
            old = exports.filter(state=State.DONE, finished_at__lt=at - KEPT)
            for pk in old.values_list("pk", flat=True):
                ExportPart.objects.for_org(org_id).filter(export_id=pk).delete()
            old.update(state=State.EXPIRED)
            exports.filter(state__in=(State.EXPIRED, State.FAILED), finished_at__lt=at - REMEMBERED).delete()
            if exports.filter(Q(state=State.QUEUED) | Q(state=State.RUNNING, claimed_until__lt=at)).exists():
                found.append(org_id)
    return found


# --- the question, kept and answered -------------------------------------------------------------------


def _everything(question: SpendQuestion, rows: int) -> SpendQuestion:
    """Every row of it, and where there are too many, one more."""
    return SpendQuestion(
        start=question.start,
        end=question.end,
        group_by=question.group_by,
        filters=question.filters,
        excluded=question.excluded,
        before=question.before,
        basis=question.basis,
        largest=True,
        limit=rows,
        is_patient=rows > AT_ONCE_ROWS_MAX,
        measures=(*COSTS, *TOKENS_IN, *TOKENS_CACHED, *TOKENS_OUT),
    )


def question_json(question: SpendQuestion) -> dict[str, Any]:
    return {
        "from": question.start.isoformat(),
        "to": question.end.isoformat(),
        "group_by": list(question.group_by),
        "filters": dict(question.filters),
        "excluded": {name: list(values) for name, values in question.excluded.items()},
        "before": [at.isoformat() for at in question.before] if question.before else None,
        "basis": question.basis,
    }


def read_question(kept: Mapping[str, Any]) -> SpendQuestion:
    before = [datetime.fromisoformat(at) for at in kept["before"] or ()]
    return SpendQuestion(
        start=datetime.fromisoformat(kept["from"]),
        end=datetime.fromisoformat(kept["to"]),
        group_by=tuple(kept["group_by"]),
        filters=kept["filters"],
        excluded=kept["excluded"],
        before=(before[0], before[1]) if before else None,
        basis=kept.get("basis", "occurred"),
    )


def _sheet(
    org: Organization, asked: Asked | Export, question: SpendQuestion, answer: Spend, rows: Iterable[SpendRow]
) -> sheets.Sheet:
    with tenant(org):
        zone = calendar(org).zone_at(answer.as_of)
        keys = list_keys(org, [asked.team] if asked.team else None) if "api_key" in question.group_by else []
    kept = [(name, value or "none") for name, value in question.filters.items()]
    kept += [(f"not {name}", value or "none") for name, values in question.excluded.items() for value in values]
    times = [("From", question.start), ("Until", question.end)]
    if question.before:
        times += [("Before, from", question.before[0]), ("Before, until", question.before[1])]
    return sheets.Sheet(
        about=[
            ("Organization", org.name),
            ("What", asked.title),
            *((name, at.astimezone(zone).isoformat()) for name, at in (*times, ("As of", answer.as_of))),
            ("Time zone", zone.key),
            *kept,
        ],
        group_by=question.group_by,
        labels={"api_key": {str(key.pk): f"{key.name} ({key.hint})" for key in keys}},
        rows=rows,
        total=answer.total,
        before=answer.before,
    )
