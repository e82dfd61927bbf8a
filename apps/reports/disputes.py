"""Disputes as they are read: of a month, of a statement, and which line one is about. Inside `tenant(org)`."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from apps.core.money import usd_text
from apps.core.tenancy import HasPk
from apps.reports.document import DisputeNote, Line
from apps.reports.models_disputes import ABOUT_LENGTH_MAX, Dispute

PAGE_MAX = 200
# What tells a line of a statement from every other one of it.
IDENTITY = ("kind", "project", "workflow", "provider", "model", "of_month", "name", "source")
WORDS = {"late": "late usage", "throughput_idle": "idle throughput", "credit_note": "credit note", "true_up": "true-up"}


def line_of(line: Line) -> dict[str, str | None]:
    """The identity of a line: its own names, whatever it comes to."""
    return {name: getattr(line, name) for name in IDENTITY}


def line_key(identity: Mapping[str, str | None]) -> str:
    """A short name of an identity, for addresses and for finding it again."""
    text = json.dumps([identity.get(name) for name in IDENTITY])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def about(identity: Mapping[str, str | None]) -> str:
    """The line in words: "usage of answers, rag, anthropic claude-sonnet-4-5"."""
    kind = str(identity["kind"])
    names = [identity[name] for name in ("name", "project", "workflow") if identity[name]]
    model = f"{identity['provider'] or ''} {identity['model'] or ''}".strip()
    said = ", ".join([*map(str, names), *([model] if model else [])])
    of_month = f" ({identity['of_month']})" if identity["of_month"] else ""
    return f"{WORDS.get(kind, kind)}{of_month}: {said or 'all of it'}"[:ABOUT_LENGTH_MAX]


def find_disputes(
    org: HasPk,
    *,
    month: date | None = None,
    teams: Sequence[str] | None = None,
    state: str | None = None,
    after: int | None = None,
    limit: int,
) -> list[Dispute]:
    """Newest first, of some teams ("": of none) or of all, before the number `after`."""
    rows = Dispute.objects.for_org(org).order_by("-id")
    wanted: dict[str, Any] = {"month": month, "state": state, "pk__lt": after}
    rows = rows.filter(**{name: value for name, value in wanted.items() if value is not None})
    if teams is not None:
        named = rows.filter(team__in=[team for team in teams if team])
        rows = named | rows.filter(team=None) if "" in teams else named
    return list(rows[:limit])


def disputes_of(org: HasPk, month: date, team: str | None) -> Sequence[Dispute]:
    """Those of one statement, in the order in which they were raised."""
    return list(Dispute.objects.for_org(org).filter(month=month, team=team).order_by("id"))


def notes_of(org: HasPk, month: date) -> Mapping[str | None, list[DisputeNote]]:
    """What each team's statement of a month says of its disputes."""
    notes: dict[str | None, list[DisputeNote]] = defaultdict(list)
    for row in Dispute.objects.for_org(org).filter(month=month).order_by("id"):
        amount = usd_text(row.amount_usd)
        assert amount is not None
        notes[row.team].append(DisputeNote(row.pk, about(row.line), amount, row.reason, row.state, row.answer))
    return notes


def moves_of(org: HasPk, dispute: Dispute) -> Sequence[Dispute]:
    """What was moved of the same line of the same statement before."""
    same = {"month": dispute.month, "team": dispute.team, "line_key": dispute.line_key}
    return list(Dispute.objects.for_org(org).filter(**same, state=Dispute.State.MOVED))


def moved_from_nobody(org: HasPk, month: date) -> Decimal:
    """What disputes moved off the usage of no team, by lines booked in a month."""
    moved = Dispute.objects.for_org(org).filter(booked_month=month, team=None, line__kind="unattributed")
    return moved.aggregate(sum=Sum("moved_usd"))["sum"] or Decimal(0)


def open_in(org: HasPk, month: date) -> int:
    """How many disputes of a month wait for an answer."""
    return Dispute.objects.for_org(org).filter(month=month, state=Dispute.State.OPEN).count()
