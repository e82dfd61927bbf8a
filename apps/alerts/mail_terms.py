"""What an organization mails of its statements, and to whom."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone

from apps.alerts.channels import PLAIN_ADDRESS
from apps.alerts.mail_tokens import Unsubscription
from apps.alerts.models_statement_mail import (
    ADDRESS_LENGTH_MAX,
    HOURS_AFTER_MAX,
    PREVIEW_DAYS_MAX,
    Kind,
    Mailbox,
    Mailer,
    MailTerms,
    Recipient,
)
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import HasPk, tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.selectors import leads_of, members_among
from apps.teams.models import Team

RECIPIENTS_MAX = 1_000
_LIMITS = {
    "hours_after": (0, HOURS_AFTER_MAX),
    "weekly_day": (0, 6),
    "weekly_hour": (0, 23),
    "preview_days": (1, PREVIEW_DAYS_MAX),
}
_SWITCHES = ("monthly", "weekly", "preview")
DECLINED = {Kind.WEEKLY: "no_weekly", Kind.PREVIEW: "no_preview"}


# --- settings -------------------------------------------------------------------------------------------


def terms_of(org: HasPk | int) -> MailTerms:
    """What the organization sends; unsaved defaults where it never said. Inside `tenant(org)`."""
    return MailTerms.objects.for_org(org).first() or MailTerms()


def change_terms(
    *,
    org: Organization,
    actor: object,
    monthly: bool,
    hours_after: int = 0,
    weekly: bool = False,
    weekly_day: int = 0,
    weekly_hour: int = 8,
    preview: bool = False,
    preview_days: int = 3,
) -> MailTerms:
    """What is switched on holds from now on: of months that are final already nobody is told by itself.

    Raises `DomainError` (`hours_after_invalid`, `weekly_day_invalid`, `weekly_hour_invalid`, `preview_days_invalid`).
    """
    numbers = {
        "hours_after": hours_after,
        "weekly_day": weekly_day,
        "weekly_hour": weekly_hour,
        "preview_days": preview_days,
    }
    for name, (low, high) in _LIMITS.items():
        if not low <= numbers[name] <= high:
            raise DomainError(f"{name}_invalid", f"{name} is {numbers[name]}: it is {low} to {high}.", param=name)
    said: dict[str, Any] = {"monthly": monthly, "weekly": weekly, "preview": preview, **numbers}
    at = timezone.now()
    with tenant(org):
        # Who says it first makes the row; whoever says it at the same time waits here.
        MailTerms.objects.for_org(org).get_or_create(organization=org)
        terms = MailTerms.objects.for_org(org).select_for_update().get()
        for name in _SWITCHES:
            if said[name] and not getattr(terms, name):
                setattr(terms, f"{name}_since", at)
        for name, value in said.items():
            setattr(terms, name, value)
        terms.save()
        note_mailer(org)
        audit.record(org=org, actor=actor, action="statement_mail.terms_changed", subject=org.slug, data=said)
    return terms


def note_mailer(org: HasPk) -> None:
    """Workers look at the organization from now on."""
    Mailer.objects.bulk_create([Mailer(organization_id=org.pk)], ignore_conflicts=True)


def mailers() -> list[int]:
    """Organizations that mail statements, by id."""
    return list(Mailer.objects.order_by("pk").values_list("pk", flat=True))


# --- recipients -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audience:
    """An address and what it gets. `leads` are the teams that it gets as their lead, switched off or not."""

    address: str
    teams: frozenset[str] = frozenset()
    leads: frozenset[str] = frozenset()
    unattributed: bool = False
    everything: bool = False
    is_member: bool = False
    mailbox: Mailbox | None = field(default=None, compare=False)

    @property
    def is_empty(self) -> bool:
        return not (self.teams or self.unattributed or self.everything)

    @property
    def has_bounced(self) -> bool:
        return self.mailbox is not None and self.mailbox.bounced_at is not None

    def covers(self, team: str | None) -> bool:
        return self.everything or (self.unattributed if team is None else team in self.teams)

    def declines(self, kind: str) -> bool:
        name = DECLINED.get(Kind(kind))
        return name is not None and self.mailbox is not None and bool(getattr(self.mailbox, name))


def audiences(org: Organization) -> dict[str, Audience]:
    """Everybody who gets something, or was a recipient by leading a team, by address. Inside `tenant(org)`."""
    found: dict[str, Audience] = {}

    def of(address: str) -> Audience:
        return found.get(address) or Audience(address)

    for address, teams in leads_of(org).items():
        found[address] = Audience(address, teams=frozenset(teams), leads=frozenset(teams))
    for row in Recipient.objects.for_org(org).order_by("address", "pk"):
        one = of(row.address)
        match row.covers:
            case Recipient.Covers.EVERYTHING:
                one = replace(one, everything=True)
            case Recipient.Covers.UNATTRIBUTED:
                one = replace(one, unattributed=True)
            case _ if row.is_off:
                one = replace(one, teams=one.teams - {row.team})
            case _:
                one = replace(one, teams=one.teams | {str(row.team)})
        found[row.address] = one
    boxes = {box.address: box for box in Mailbox.objects.for_org(org).filter(address__in=list(found))}
    members = members_among(org, list(found))
    return {
        address: replace(one, mailbox=boxes.get(address), is_member=address in members)
        for address, one in found.items()
    }


def audience_of(org: Organization, address: str) -> Audience:
    """Inside `tenant(org)`."""
    return audiences(org).get(address) or Audience(address)


def recipients(org: HasPk) -> Sequence[Recipient]:
    """The rows that people entered, by address. At most `RECIPIENTS_MAX`. Inside `tenant(org)`."""
    return list(Recipient.objects.for_org(org).order_by("address", "covers", "team", "pk"))


def add_recipient(
    *, org: Organization, actor: object, address: str, covers: str, team: str | None = None, is_off: bool = False
) -> Recipient:
    """The address gets these statements, or with `is_off` no longer those of a team that it leads. Twice is once.

    Raises `DomainError` (`address_invalid`, `covers_unknown`, `team_unknown`, `team_unused`, `not_a_lead`,
    `too_many_recipients`).
    """
    address, team = plain_address(address), team or None
    if covers not in Recipient.Covers.values:
        raise DomainError(
            "covers_unknown",
            f"covers is '{covers[:64]}': use {', '.join(Recipient.Covers.values)}.",
            param="covers",
        )
    with tenant(org):
        _check_team(org, covers, team)
        if is_off and team not in leads_of(org).get(address, ()):
            raise DomainError(
                "not_a_lead",
                f"{address} leads no team that could be switched off here: take its row away instead.",
                param="is_off",
            )
        rows = Recipient.objects.for_org(org)
        known: dict[str, Any] = {"address": address, "covers": covers, "team": team}
        if not rows.filter(**known).exists() and rows.count() >= RECIPIENTS_MAX:
            raise DomainError("too_many_recipients", f"There are {RECIPIENTS_MAX} recipients already: take one away.")
        row, _ = rows.update_or_create(
            organization=org,
            **known,
            defaults={"is_off": is_off, "added_at": timezone.now(), "added_by": str(actor)[:320]},
        )
        data = {"covers": covers, "team": team, "is_off": is_off}
        audit.record(org=org, actor=actor, action="statement_mail.recipient_added", subject=address, data=data)
    return row


def remove_recipient(*, org: Organization, recipient_id: int, actor: object) -> None:
    """Raises `NotFound`. A lead whose row said "off" gets their teams' statements again."""
    with tenant(org):
        row = Recipient.objects.for_org(org).filter(pk=recipient_id).first() if recipient_id < 2**63 else None
        if row is None:
            raise NotFound("recipient")
        data = {"covers": row.covers, "team": row.team, "is_off": row.is_off}
        row.delete()
        audit.record(org=org, actor=actor, action="statement_mail.recipient_removed", subject=row.address, data=data)


def plain_address(text: str) -> str:
    """The address in small letters. Raises `DomainError` (`address_invalid`)."""
    address = text.strip().lower()
    try:
        validate_email(address)
        if len(address) > ADDRESS_LENGTH_MAX or not re.fullmatch(PLAIN_ADDRESS, address):
            raise ValidationError("not plain")
    except ValidationError:
        raise DomainError("address_invalid", f"'{text[:64]}' is no mail address.", param="address") from None
    return address


def _check_team(org: Organization, covers: str, team: str | None) -> None:
    if covers != Recipient.Covers.TEAM:
        if team is not None:
            raise DomainError("team_unused", f"covers is {covers}: leave team out.", param="team")
        return
    if team is None or not is_name(team, 256) or not Team.objects.for_org(org).filter(slug=team).exists():
        raise DomainError("team_unknown", f"There is no team '{(team or '')[:64]}'.", param="team")


# --- addresses ------------------------------------------------------------------------------------------


def note_bounce(org: HasPk | int, address: str, why: str) -> None:
    """The address gets nothing more until somebody confirms it. Inside `tenant(org)`."""
    said = {"bounced_at": timezone.now(), "bounce": why[:500]}
    Mailbox.objects.for_org(org).update_or_create(organization_id=_pk(org), address=address, defaults=said)


def _pk(org: HasPk | int) -> int:
    return org if isinstance(org, int) else int(org.pk)


def confirm_address(*, org: Organization, address: str, actor: object) -> None:
    """A person says that the address is good: it is sent to again. Raises `NotFound` where it did not bounce."""
    with tenant(org):
        boxes = Mailbox.objects.for_org(org).filter(address=address.strip().lower()[:320], bounced_at__isnull=False)
        if "\0" in address or not boxes.update(bounced_at=None, bounce=""):
            raise NotFound("bounced address")
        audit.record(org=org, actor=actor, action="statement_mail.address_confirmed", subject=address[:320])


def unsubscribe(wanted: Unsubscription) -> None:
    """The address gets no more digests of the kind. Twice is once."""
    _decline(wanted, True, "statement_mail.unsubscribed")


def subscribe_again(wanted: Unsubscription) -> None:
    """Takes `unsubscribe` back: the address gets what it is a reader of."""
    _decline(wanted, False, "statement_mail.subscribed_again")


def _decline(wanted: Unsubscription, declined: bool, action: str) -> None:
    with tenant(wanted.org_id):
        name = DECLINED[Kind(wanted.kind)]
        rows = Mailbox.objects.for_org(wanted.org_id)
        box, _ = rows.get_or_create(organization_id=wanted.org_id, address=wanted.address)
        if getattr(box, name) == declined:
            return
        setattr(box, name, declined)
        box.save(update_fields=[name])
        audit.record(
            org=Organization.objects.get(pk=wanted.org_id),
            actor=wanted.address,
            action=action,
            subject=wanted.address,
            data={"kind": wanted.kind},
        )
