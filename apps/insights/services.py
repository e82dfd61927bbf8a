"""What people do with incidents, and the marks that they set."""

from datetime import datetime, timedelta

from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.insights.incidents import note
from apps.insights.models import NAME_LENGTH_MAX, REASON_LENGTH_MAX, Incident, Mark, Reading, ScopeKind
from apps.insights.selectors import incident_by_id, mark_by_id
from apps.organizations.models import Organization
from apps.teams.selectors import project_by_slug, team_by_slug, workflow_by_slug

MARK_NAME_LENGTH_MAX = 100
MARK_LENGTH_MAX = timedelta(days=62)
MARKS_MAX = 1_000
State = Incident.State
# What each act makes of an incident, and what it says of its use; None: it says nothing.
ACTS: dict[str, tuple[str, bool | None]] = {
    "acknowledge": (State.ACKNOWLEDGED, None),
    "expect": (State.EXPECTED, None),
    "dismiss": (State.DISMISSED, False),
    "resolve": (State.CLOSED, True),
}
NEEDS_REASON = frozenset({"expect", "dismiss"})


def answer(*, org: Organization, incident_id: int, act: str, reason: str, actor: object) -> Incident:
    """Say what an incident is: acknowledge it, or end it as expected, dismissed or resolved.

    What was said already may be said again and changes nothing. Raises `NotFound` and `DomainError` (`reason_invalid`,
    `incident_ended` where it ended otherwise, `act_unknown`).
    """
    if act not in ACTS:
        raise DomainError("act_unknown", f"'{act[:40]}' is no answer: {', '.join(ACTS)}.", param="act")
    state, is_useful = ACTS[act]
    _require_reason(reason, needed=act in NEEDS_REASON)
    with tenant(org):
        incident = incident_by_id(org, incident_id, locked=True)
        if incident.state == state and (state != State.CLOSED or incident.answered_at is not None):
            return incident
        if incident.closed_at is not None:
            raise DomainError(
                "incident_ended",
                f"Incident {incident.pk} ended as {incident.state}: it is answered as it stands.",
            )
        now = timezone.now()
        incident.state, incident.reason = state, reason
        incident.answered_at, incident.answered_by = now, str(actor)
        incident.closed_at = None if state == State.ACKNOWLEDGED else now
        if is_useful is not None:
            incident.is_useful = is_useful
        note(incident, now, _WORDS[act], str(actor), reason)
        incident.save()
        subject = f"incident {incident.pk}"
        audit.record(org=org, actor=actor, action=f"signals.{_AUDITED[act]}", subject=subject, data={"reason": reason})
    return incident


_WORDS = {
    "acknowledge": "acknowledged",
    "expect": "expected: the new normal from here on",
    "dismiss": "dismissed as not useful",
    "resolve": "resolved",
}
_AUDITED = {"acknowledge": "acknowledged", "expect": "expected", "dismiss": "dismissed", "resolve": "resolved"}


def rate(*, org: Organization, incident_id: int, is_useful: bool, actor: object) -> Incident:
    """Whether it was of use to be told; the last word counts. Raises `NotFound`."""
    with tenant(org):
        incident = incident_by_id(org, incident_id, locked=True)
        if incident.is_useful != is_useful:
            incident.is_useful = is_useful
            note(incident, timezone.now(), "rated useful" if is_useful else "rated not useful", str(actor))
            incident.save(update_fields=["is_useful", "history"])
            subject, data = f"incident {incident.pk}", {"is_useful": is_useful}
            audit.record(org=org, actor=actor, action="signals.rated", subject=subject, data=data)
    return incident


def _require_reason(reason: str, *, needed: bool) -> None:
    if needed and not reason:
        raise DomainError("reason_invalid", "Say why, in a sentence: the next reader will ask.", param="reason")
    if reason and not is_name(reason, REASON_LENGTH_MAX):
        raise DomainError(
            "reason_invalid",
            f"The reason is one line of 1 to {REASON_LENGTH_MAX} characters without control characters.",
            param="reason",
        )


# --- marks ----------------------------------------------------------------------------------------------


def set_mark(
    *, org: Organization, kind: str, name: str, scope_kind: str, scope: str, starts_at: datetime, ends_at: datetime,
    actor: object, mark_id: int | None = None,
) -> Mark:  # fmt: skip
    """Set a mark, or change one.

    Raises `NotFound` and `DomainError` (`kind_unknown`, `name_invalid`, `scope_unknown`, `range_empty`,
    `range_too_long`, `too_many_marks`).
    """
    if kind not in Mark.Kind.values:
        raise DomainError("kind_unknown", f"kind is '{kind[:40]}': it is {', '.join(Mark.Kind.values)}.", param="kind")
    if not is_name(name, MARK_NAME_LENGTH_MAX):
        raise DomainError(
            "name_invalid", f"A name is one line of 1 to {MARK_NAME_LENGTH_MAX} characters.", param="name"
        )
    _require_range(starts_at, ends_at)
    with tenant(org):
        _require_scope(org, scope_kind, scope)
        if mark_id is None:
            if Mark.objects.for_org(org).count() >= MARKS_MAX:
                raise DomainError("too_many_marks", f"There are {MARKS_MAX} marks: remove old ones first.")
            mark = Mark(organization=org, created_at=timezone.now(), created_by=str(actor))
        else:
            mark = mark_by_id(org, mark_id)
        mark.kind, mark.name, mark.scope_kind, mark.scope = kind, name, scope_kind, scope
        mark.starts_at, mark.ends_at = starts_at, ends_at
        mark.save()
        data = {"name": name, "from": starts_at.isoformat(), "to": ends_at.isoformat()}
        act = "set" if mark_id is None else "changed"
        audit.record(org=org, actor=actor, action=f"marks.{act}", subject=f"mark {mark.pk}", data=data)
    return mark


def remove_mark(*, org: Organization, mark_id: int, actor: object) -> None:
    """Raises `NotFound`."""
    with tenant(org):
        mark = mark_by_id(org, mark_id)
        audit.record(org=org, actor=actor, action="marks.removed", subject=f"mark {mark.pk}", data={"name": mark.name})
        mark.delete()


def _require_range(starts_at: datetime, ends_at: datetime) -> None:
    if starts_at >= ends_at:
        raise DomainError(
            "range_empty", f"starts_at ({starts_at.isoformat()}) must lie before ends_at.", param="ends_at"
        )
    if ends_at - starts_at > MARK_LENGTH_MAX:
        raise DomainError(
            "range_too_long",
            f"A mark lasts at most {MARK_LENGTH_MAX.days} days: set another after it.",
            param="ends_at",
        )


def _require_scope(org: Organization, kind: str, scope: str) -> None:
    known = {ScopeKind.TEAM: team_by_slug, ScopeKind.PROJECT: project_by_slug, ScopeKind.WORKFLOW: workflow_by_slug}
    if kind == ScopeKind.ORGANIZATION:
        if scope:
            raise DomainError("scope_unknown", "A mark of the organization has no scope of its own.", param="scope")
        return
    find = known.get(ScopeKind(kind)) if kind in ScopeKind.values else None
    if find is None:
        raise DomainError(
            "scope_unknown", f"scope_kind is '{kind[:40]}': it is {', '.join(ScopeKind.values)}.", param="scope_kind"
        )
    if not scope or len(scope) > NAME_LENGTH_MAX or "\0" in scope or find(org, scope) is None:
        raise DomainError("scope_unknown", f"There is no {kind} '{scope[:64]}'.", param="scope")


# --- retention ------------------------------------------------------------------------------------------

READINGS_KEPT = timedelta(days=400)
INCIDENTS_KEPT = timedelta(days=800)


def forget_old(org_id: int, *, at: datetime) -> int:
    """Delete readings, ended incidents and marks that are older than what anybody is shown; how many rows."""
    with tenant(org_id):
        gone = Reading.objects.for_org(org_id).filter(day_start__lt=at - READINGS_KEPT).delete()[0]
        gone += Incident.objects.for_org(org_id).filter(closed_at__lt=at - INCIDENTS_KEPT).delete()[0]
        gone += Mark.objects.for_org(org_id).filter(ends_at__lt=at - READINGS_KEPT).delete()[0]
    return gone
