"""Channels: making, changing, rotating, testing and ending them. What is done is audited, by its hint only."""

import re
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any
from uuid import uuid4

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError
from django.utils import timezone

from apps.alerts.chat import room_of
from apps.alerts.models import NAME_LENGTH_MAX, Channel, Delivery, Subscriber
from apps.alerts.selectors import channel_by_id, list_channels
from apps.alerts.senders import new_secret
from apps.alerts.transport import Outbound
from apps.audit import services as audit
from apps.core.encryption import decrypt, encrypt, encrypt_anew
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.teams.models import Team

CHANNELS_MAX = 50
ADDRESSES_MAX = 20
ROTATION_HOURS = 24
TESTS_WAITING_MAX = 5
# Of an organization: its channels may name addresses of people who never asked for it.
TESTS_PER_HOUR_MAX = 30
# Plain ones: a domain of two labels or more. Quoted names, addresses of machines such as root@[10.0.0.1] and
# root@localhost lead a mail server into its own network.
PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9.!#$&'*+/=?^_{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z][A-Za-z0-9-]*")
CHANGEABLE = frozenset({"name", "target", "team", "min_severity", "quiet_from", "quiet_until", "digest"})


def create_channel(
    *,
    org: Organization,
    actor: object,
    kind: str,
    name: str,
    target: str,
    team: str | None = None,
    min_severity: str = "info",
    quiet_from: time | None = None,
    quiet_until: time | None = None,
    digest: str = "none",
) -> Channel:
    """A channel that gets crossings from now on; a webhook's secret is shown to nobody again.

    Raises `DomainError`: `channel_kind_unknown`, `name_invalid`, `address_invalid`, `url_invalid`, `url_refused`,
    `chat_unknown`, `team_unknown`, `severity_unknown`, `quiet_hours_invalid`, `digest_unknown`,
    `channel_field_unused`, `name_taken`, `too_many_channels`.
    """
    if kind not in Channel.Kind.values:
        raise DomainError("channel_kind_unknown", f"kind is '{kind[:64]}': use email, webhook or chat.", param="kind")
    at = timezone.now()
    made = Channel(organization=org, kind=kind, created_at=at, active_since=at, created_by=_name(actor))
    fields = {
        "name": name,
        "target": target,
        "team": team,
        "min_severity": min_severity,
        "quiet_from": quiet_from,
        "quiet_until": quiet_until,
        "digest": digest,
    }
    checked = _checked(kind, fields)
    if kind == Channel.Kind.WEBHOOK:
        made.secret = encrypt(new_secret())
    with tenant(org):
        _set(org, made, checked)
        if list_channels(org).count() >= CHANNELS_MAX:
            raise DomainError("too_many_channels", f"There are {CHANNELS_MAX} channels: delete one that is not used.")
        _save(made)
        Subscriber.objects.bulk_create([Subscriber(organization=org)], ignore_conflicts=True)
        _audit(org, actor, "channels.created", made, _shown(made))
    return made


def change_channel(*, org: Organization, channel_id: int, actor: object, fields: Mapping[str, Any]) -> Channel:
    """Change what `fields` names, of `CHANGEABLE`. Raises what `create_channel` does, and `NotFound`."""
    with tenant(org):
        before = channel_by_id(org, channel_id)
    given = {name: fields.get(name, getattr(before, name)) for name in ("quiet_from", "quiet_until", "digest")}
    checked = _checked(before.kind, {**given, **{name: fields[name] for name in CHANGEABLE & fields.keys()}})
    with tenant(org):
        channel = channel_by_id(org, channel_id, to_change=True)
        _set(org, channel, checked)
        _save(channel)
        _audit(org, actor, "channels.changed", channel, {**_shown(channel), "changed": sorted(fields)})
    return channel


def delete_channel(*, org: Organization, channel_id: int, actor: object) -> None:
    """End it: its target and secrets are wiped, what waits for it fails, its log stays. Raises `NotFound`."""
    with tenant(org):
        channel = channel_by_id(org, channel_id, to_change=True)
        channel.target = channel.secret = channel.previous_secret = ""
        channel.state, channel.deleted_at = Channel.State.DISABLED, timezone.now()
        channel.save()
        fail_open(org, channel, "the channel was deleted")
        if not list_channels(org).exists():
            Subscriber.objects.filter(pk=org.pk).delete()
        _audit(org, actor, "channels.deleted", channel, _shown(channel))


def rotate_secret(*, org: Organization, channel_id: int, actor: object) -> Channel:
    """Give a webhook a new secret; the one before signs beside it for `ROTATION_HOURS`.

    Raises `NotFound` and `DomainError` (`channel_without_secret`).
    """
    with tenant(org):
        channel = channel_by_id(org, channel_id, to_change=True)
        if channel.kind != Channel.Kind.WEBHOOK:
            raise DomainError("channel_without_secret", f"'{channel.name}' is no webhook: nothing of it is signed.")
        channel.previous_secret, channel.secret = channel.secret, encrypt(new_secret())
        channel.previous_until = timezone.now() + timedelta(hours=ROTATION_HOURS)
        channel.save(update_fields=["secret", "previous_secret", "previous_until"])
        _audit(org, actor, "channels.rotated", channel, {"previous_until": channel.previous_until.isoformat()})
    return channel


def set_active(*, org: Organization, channel_id: int, actor: object, active: bool) -> Channel:
    """Enable or disable it. What crosses while it is disabled never reaches it. Raises `NotFound`."""
    with tenant(org):
        channel = channel_by_id(org, channel_id, to_change=True)
        if active == (channel.state == Channel.State.ACTIVE):
            return channel
        if active:
            channel.state, channel.disabled_reason = Channel.State.ACTIVE, ""
            channel.active_since = timezone.now()
        else:
            disable(org, channel, f"disabled by {_name(actor)}")
        channel.save(update_fields=["state", "disabled_reason", "active_since"])
        _audit(org, actor, "channels.enabled" if active else "channels.disabled", channel, {})
    return channel


def disable(org: Organization | int, channel: Channel, reason: str) -> None:
    """Disable it, inside `tenant(org)`; what waits for it fails."""
    channel.state, channel.disabled_reason = Channel.State.DISABLED, reason[:300]
    channel.save(update_fields=["state", "disabled_reason"])
    fail_open(org, channel, f"the channel is disabled: {reason}")


def fail_open(org: Organization | int, channel: Channel, why: str) -> None:
    """Fail what waits for the channel; a try that is under way still records how it ended."""
    waiting = Delivery.objects.for_org(org).filter(channel_id=channel.pk, state__in=["pending", "held"])
    waiting.update(state=Delivery.State.FAILED, next_attempt_at=None, error=why[:300])


def send_test(*, org: Organization, channel_id: int, actor: object) -> Delivery:
    """A message that says it is a test, due now.

    Raises `NotFound` and `DomainError` (`channel_disabled`, `tests_waiting`, `too_many_tests`).
    """
    at = timezone.now()
    with tenant(org):
        channel = channel_by_id(org, channel_id, to_change=True)
        if channel.state != Channel.State.ACTIVE:
            raise DomainError("channel_disabled", f"'{channel.name}' is disabled: enable it first.")
        tests = Delivery.objects.for_org(org).filter(kind="test")
        if tests.filter(created_at__gt=at - timedelta(hours=1)).count() >= TESTS_PER_HOUR_MAX:
            raise DomainError("too_many_tests", f"There were {TESTS_PER_HOUR_MAX} tests within an hour: try it later.")
        if tests.filter(channel_id=channel.pk, next_attempt_at__isnull=False).count() >= TESTS_WAITING_MAX:
            raise DomainError("tests_waiting", f"{TESTS_WAITING_MAX} tests of '{channel.name}' are still under way.")
        delivery_id = uuid4()
        made = Delivery.objects.for_org(org).create(
            organization_id=org.pk,
            delivery_id=delivery_id,
            message_id=delivery_id,
            channel_id=channel.pk,
            crossing_id=uuid4(),
            kind="test",
            severity="info",
            title=f"A test of channel “{channel.name}”",
            state=Delivery.State.PENDING,
            created_at=at,
            next_attempt_at=at,
        )
        _audit(org, actor, "channels.tested", channel, {})
    return made


# --- what may stand in a channel ---------------------------------------------------------------------


def _checked(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, ready to be stored. Looks hosts up, so never inside a transaction."""
    found = dict(fields)
    if "name" in found and (not is_name(str(found["name"]), NAME_LENGTH_MAX) or not str(found["name"]).strip()):
        raise DomainError(
            "name_invalid", f"name must have 1 to {NAME_LENGTH_MAX} characters, no control ones.", param="name"
        )
    if "min_severity" in found and found["min_severity"] not in Channel.Severity.values:
        raise DomainError(
            "severity_unknown",
            f"min_severity is '{str(found['min_severity'])[:64]}': use info, warning or critical.",
            param="min_severity",
        )
    _check_waiting(kind, found)
    if "target" in found:
        found["target"], found["hint"] = _target(kind, str(found["target"]).strip())
    return found


def _check_waiting(kind: str, fields: Mapping[str, Any]) -> None:
    start, end, digest = fields["quiet_from"], fields["quiet_until"], fields["digest"]
    if digest not in Channel.Digest.values:
        raise DomainError(
            "digest_unknown", f"digest is '{str(digest)[:64]}': use none, hourly or daily.", param="digest"
        )
    if (start is None) != (end is None) or (start is not None and start == end):
        raise DomainError(
            "quiet_hours_invalid", "quiet_from and quiet_until are two different times, or both empty.",
            param="quiet_until",
        )  # fmt: skip
    if kind == Channel.Kind.WEBHOOK and (digest != "none" or start is not None):
        raise DomainError(
            "channel_field_unused",
            "A webhook is told of each crossing at once: leave quiet hours and digest out.",
            param="digest" if digest != "none" else "quiet_from",
        )


def _target(kind: str, target: str) -> tuple[str, str]:
    """The target, encrypted as it is stored, and its hint."""
    if kind == Channel.Kind.EMAIL:
        addresses = _addresses(target)
        return encrypt(",".join(addresses)), ", ".join(addresses)
    if kind == Channel.Kind.WEBHOOK:
        found = Outbound().check(target)
        return encrypt(target), f"{found.scheme}://{found.authority}/…{_end(target)}"
    room = room_of(target, Outbound())
    return encrypt(target), f"{room.service} {room.host}{'/' if room.host else ''}…{_end(target)}"


def _end(target: str) -> str:
    """The last characters, where enough is left that nobody could guess."""
    return target[-4:] if len(target) >= 24 else ""


def _addresses(text: str) -> list[str]:
    found = list(dict.fromkeys(part for part in re.split(r"[,;\s]+", text) if part))
    if not 1 <= len(found) <= ADDRESSES_MAX:
        raise DomainError(
            "address_invalid", f"There are {len(found)} addresses: write 1 to {ADDRESSES_MAX}.", param="target"
        )
    for address in found:
        try:
            validate_email(address)
            if not PLAIN_ADDRESS.fullmatch(address):
                raise ValidationError("not plain")
        except ValidationError:
            raise DomainError("address_invalid", f"'{address[:64]}' is no mail address.", param="target") from None
    return found


def _set(org: Organization, channel: Channel, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        setattr(channel, name, _team(org, value) if name == "team" else value)


def _team(org: Organization, slug: str | None) -> Team | None:
    if not slug:
        return None
    team = Team.objects.for_org(org).filter(slug=slug).first() if is_name(slug, 256) else None
    if team is None:
        raise DomainError("team_unknown", f"There is no team '{slug[:64]}'.", param="team")
    return team


def _save(channel: Channel) -> None:
    taken = list_channels(channel.organization_id).filter(name=channel.name).exclude(pk=channel.pk).exists()
    try:
        if not taken:
            channel.save()
    except IntegrityError:
        taken = True
    if taken:
        raise DomainError("name_taken", f"There is a channel '{channel.name}' already.", param="name")


def _name(actor: object) -> str:
    return str(actor)[:320] if actor is not None else "command"


def _shown(channel: Channel) -> dict[str, Any]:
    """What the audit log may hold of a channel."""
    return {
        "kind": channel.kind,
        "name": channel.name,
        "hint": channel.hint,
        "team": channel.team.slug if channel.team else None,
        "min_severity": channel.min_severity,
        "quiet_from": str(channel.quiet_from) if channel.quiet_from else None,
        "quiet_until": str(channel.quiet_until) if channel.quiet_until else None,
        "digest": channel.digest,
    }


def _audit(org: Organization, actor: object, action: str, channel: Channel, data: dict[str, Any]) -> None:
    audit.record(org=org, actor=actor, action=action, subject=f"channel {channel.pk}", data=data)


def secret_of(channel: Channel) -> str:
    """The signing secret, "" where nothing is signed: for the one who has just been given it."""
    return decrypt(channel.secret)


def due_signatures(channel: Channel, at: datetime) -> list[str]:
    """The secrets that sign now, the newest first. Raises `Unreadable`."""
    previous = channel.previous_until is not None and channel.previous_until > at
    return [decrypt(one) for one in ([channel.secret, channel.previous_secret] if previous else [channel.secret])]


def encrypt_channels_anew(org_id: int) -> int:
    """Encrypt by the newest key what channels hold; how many did. Raises `Unreadable`, and then changes nothing."""
    with tenant(org_id):
        found = list(Channel.objects.for_org(org_id).filter(deleted_at=None).order_by("pk").select_for_update())
        for channel in found:
            for name in ("target", "secret", "previous_secret"):
                setattr(channel, name, encrypt_anew(getattr(channel, name)))
            channel.save(update_fields=["target", "secret", "previous_secret"])
    return len(found)
