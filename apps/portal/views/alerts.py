"""Channels that people are told by, and the log of deliveries."""

from collections.abc import Mapping
from datetime import datetime, time
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse, HttpResponseRedirect

from apps.alerts import channels, selectors, services
from apps.alerts.chat import SERVICES
from apps.alerts.models import Channel, Delivery
from apps.alerts.senders import webhook_id
from apps.alerts.tasks import hint_tell
from apps.core.cursors import cursor_of
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_alerts import (
    ChannelForm,
    ChannelRow,
    ChannelsPage,
    DeliveriesPage,
    DeliveryRow,
    SecretPage,
    TryLine,
)
from apps.portal.pages_prices import FormError
from apps.teams.selectors import list_teams

ROWS = 50
GIVEN_MAX = 8000
CHANNEL_ID_DIGITS_MAX = 18
# Kind, what people call it, what it does.
KINDS = (
    ("email", "Email", "A mail to people or to a list. It says what happened, how bad it is and what happens next."),
    ("chat", "Chat room", "A message in Slack, Microsoft Teams, Discord, Google Chat and others."),
    ("webhook", "Webhook", "A signed request to a service of yours, for what should happen by itself."),
)
LABELS = {kind: label for kind, label, _ in KINDS}
SEVERITIES = (
    ("info", "everything"),
    ("warning", "warnings and what is critical"),
    ("critical", "only what is critical"),
)
DIGESTS = (("none", "each at once"), ("hourly", "together, every hour"), ("daily", "together, at 8 in the morning"))
STATES = {
    "pending": "waits for its next try",
    "held": "held for a digest or quiet hours",
    "sending": "being sent",
    "sent": "sent",
    "failed": "failed",
}
FIELDS = ("name", "target", "team", "min_severity", "quiet_from", "quiet_until", "digest")


@organization_page(section="alerts", permission=Permission.VIEW_SPEND)
def alerts(visit: Visit) -> HttpResponse:
    with tenant(visit.org):
        found = list(selectors.list_channels(visit.org))
        last = selectors.last_deliveries(visit.org)
    page = ChannelsPage(
        rows=tuple(_channel_row(visit, channel, last.get(channel.pk)) for channel in found),
        kinds=_kinds(visit),
        may_change=visit.may(Permission.MANAGE_ALERTS),
        log_url=visit.url("deliveries"),
    )
    return visit.render("portal/alerts.html", frame=visit.frame("Alerts", Crumb("Alerts")), alerts=page)


def _kinds(visit: Visit) -> tuple[tuple[str, str, str], ...]:
    return tuple((label, says, visit.url("channel_new", {"kind": kind})) for kind, label, says in KINDS)


def _channel_url(visit: Visit, channel_id: int, act: str = "") -> str:
    return f"{visit.url('alerts')}/channels/{channel_id}{f'/{act}' if act else ''}"


def _channel_row(visit: Visit, channel: Channel, last: Delivery | None) -> ChannelRow:
    of = f"team {channel.team.slug}" if channel.team else "every team"
    waits = [] if channel.digest == "none" else [dict(DIGESTS)[channel.digest]]
    if channel.quiet_from and channel.quiet_until:
        waits.append(f"quiet from {channel.quiet_from:%H:%M} to {channel.quiet_until:%H:%M}")
    return ChannelRow(
        name=channel.name,
        url=_channel_url(visit, channel.pk),
        kind=LABELS[channel.kind],
        hint=channel.hint,
        told_of=f"{dict(SEVERITIES)[channel.min_severity]}, {of}",
        waits="; ".join([*waits, "what is critical at once"]) if waits else "at once",
        state=channel.state,
        why=channel.disabled_reason,
        last_state=last.state if last else "",
        last_title=last.title if last else "",
        last_at=last.created_at if last else None,
        last_url=visit.url("deliveries", {"channel": str(channel.pk)}),
        test_url=_channel_url(visit, channel.pk, "test"),
    )


@organization_page(section="alerts", permission=Permission.MANAGE_ALERTS, writes=Permission.MANAGE_ALERTS)
def channel_new(visit: Visit) -> HttpResponse:
    given, error = {"kind": str(visit.request.GET.get("kind", ""))}, None
    if visit.request.method == "POST":
        given = _given(visit)
        try:
            made = channels.create_channel(
                org=visit.org, actor=visit.user, kind=given.get("kind", ""), **_fields(given, FIELDS)
            )
            return _secret(visit, made) if made.secret else HttpResponseRedirect(visit.url("alerts"))
        except DomainError as wrong:
            error = FormError.of(wrong)
    kind = given.get("kind", "")
    page = _form(visit, kind if kind in LABELS else "email", given, error)
    crumbs = (Crumb("Alerts", visit.url("alerts")), Crumb("Add"))
    return visit.render("portal/channel.html", frame=visit.frame("Add a channel", *crumbs), form=page, error=error)


@organization_page(section="alerts", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_ALERTS)
def channel_edit(visit: Visit, channel_id: int) -> HttpResponse:
    error = None
    with tenant(visit.org):
        channel = selectors.channel_by_id(visit.org, channel_id)
    given = _stored(channel)
    if visit.request.method == "POST":
        given = _given(visit)
        # An empty target keeps the one that is stored: it is never shown again.
        names = [name for name in FIELDS if name != "target" or given.get("target")]
        try:
            fields = _fields(given, names)
            channels.change_channel(org=visit.org, channel_id=channel_id, actor=visit.user, fields=fields)
            return HttpResponseRedirect(visit.url("alerts"))
        except DomainError as wrong:
            error = FormError.of(wrong)
    page = _form(visit, channel.kind, given, error, channel)
    crumbs = (Crumb("Alerts", visit.url("alerts")), Crumb(channel.name))
    return visit.render("portal/channel.html", frame=visit.frame(channel.name, *crumbs), form=page, error=error)


def _stored(channel: Channel) -> dict[str, str]:
    return {
        "name": channel.name,
        "team": channel.team.slug if channel.team else "",
        "min_severity": channel.min_severity,
        "quiet_from": f"{channel.quiet_from:%H:%M}" if channel.quiet_from else "",
        "quiet_until": f"{channel.quiet_until:%H:%M}" if channel.quiet_until else "",
        "digest": channel.digest,
        # Mail addresses are no secret, and are changed more often than typed anew.
        "target": channel.hint if channel.kind == Channel.Kind.EMAIL else "",
    }


def _given(visit: Visit) -> dict[str, str]:
    return {name: str(value)[:GIVEN_MAX] for name, value in visit.request.POST.items()}


def _fields(given: Mapping[str, str], names: Any) -> dict[str, Any]:
    """What a form says, as the service takes it; a webhook's form has neither quiet hours nor a digest."""
    found: dict[str, Any] = {name: given.get(name, "") for name in names}
    for name in ("quiet_from", "quiet_until"):
        found[name] = _time(name, found[name])
    found["team"] = found["team"] or None
    found["min_severity"] = found["min_severity"] or "info"
    found["digest"] = found["digest"] or "none"
    return found


def _time(name: str, text: str) -> time | None:
    if not text:
        return None
    try:
        return time.fromisoformat(text).replace(second=0, microsecond=0, tzinfo=None)
    except ValueError:
        raise DomainError("quiet_hours_invalid", f"'{text[:64]}' is no time: write it as 22:00.", param=name) from None


def _form(
    visit: Visit, kind: str, given: Mapping[str, str], error: FormError | None, channel: Channel | None = None
) -> ChannelForm:
    with tenant(visit.org):
        teams = tuple(team.slug for team in list_teams(visit.org))
    rotating = channel is not None and channel.previous_until is not None and channel.previous_until > visit.at
    return ChannelForm(
        kind=kind,
        label=LABELS[kind],
        says=next(says for name, _, says in KINDS if name == kind),
        is_new=channel is None,
        kinds=_kinds(visit),
        services=", ".join(dict.fromkeys(SERVICES.values())),
        teams=teams,
        severities=SEVERITIES,
        digests=DIGESTS,
        zone=visit.calendar.zone_at(visit.at).key,
        given=given,
        error=error,
        hint=channel.hint if channel else "",
        state=channel.state if channel else "",
        why=channel.disabled_reason if channel else "",
        rotating_until=channel.previous_until if channel and rotating else None,
        acts=tuple(_acts(visit, channel)) if channel else (),
        may_change=visit.may(Permission.MANAGE_ALERTS),
    )


def _acts(visit: Visit, channel: Channel) -> list[tuple[str, str, str]]:
    def act(name: str, label: str, says: str) -> tuple[str, str, str]:
        return _channel_url(visit, channel.pk, name), label, says

    found = []
    if channel.state == Channel.State.ACTIVE:
        found.append(act("test", "Send a test", "A message that says it is a test. The log shows what became of it."))
        found.append(act("disable", "Disable", "What waits for it fails; what crosses meanwhile never reaches it."))
    else:
        found.append(act("enable", "Enable", "It is told of what crosses from then on."))
    if channel.kind == Channel.Kind.WEBHOOK:
        hours = channels.ROTATION_HOURS
        says = f"A new secret, shown once. Messages are signed by both secrets for {hours} hours."
        found.append(act("rotate", "Rotate the secret", says))
    found.append(act("delete", "Delete", "Its address and secrets are wiped. The log of its deliveries stays."))
    return found


@organization_page(section="alerts", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_ALERTS, is_act=True)
def channel_act(visit: Visit, channel_id: int, act: str) -> HttpResponse:
    named: dict[str, Any] = {"org": visit.org, "channel_id": channel_id, "actor": visit.user}
    match act:
        case "test":
            channels.send_test(**named)
            hint_tell(visit.org.pk)
            return HttpResponseRedirect(visit.url("deliveries", {"channel": str(channel_id)}))
        case "rotate":
            return _secret(visit, channels.rotate_secret(**named))
        case "enable" | "disable":
            channels.set_active(**named, active=act == "enable")
        case "delete":
            channels.delete_channel(**named)
        case _:
            raise Http404
    return HttpResponseRedirect(visit.url("alerts"))


def _secret(visit: Visit, channel: Channel) -> HttpResponse:
    """The answer to the form itself: a secret that an address could show again would not be shown once."""
    page = SecretPage(channel.name, channels.secret_of(channel), channel.previous_until, visit.url("alerts"))
    crumbs = (Crumb("Alerts", visit.url("alerts")), Crumb(channel.name))
    return visit.render("portal/channel_secret.html", frame=visit.frame("Signing secret", *crumbs), secret=page)


@organization_page(section="alerts", permission=Permission.VIEW_SPEND)
def deliveries(visit: Visit) -> HttpResponse:
    query = visit.request.GET
    state = str(query.get("state", ""))
    state = state if state in STATES else ""
    asked = str(query.get("channel", ""))
    channel_id = int(asked) if asked.isascii() and asked.isdigit() and len(asked) <= CHANNEL_ID_DIGITS_MAX else 0
    crossing_id = _uuid(query.get("crossing", ""))
    after = _position(query.get("cursor"))
    with tenant(visit.org):
        found = selectors.find_deliveries(
            visit.org,
            state=state,
            channel_id=channel_id or None,
            crossing_id=crossing_id,
            limit=ROWS + 1,
            after=after,
        )
        names = selectors.channel_names(visit.org)
    chosen = {"state": state, "channel": str(channel_id or ""), "crossing": str(crossing_id or "")}
    kept = {name: value for name, value in chosen.items() if value}
    following = cursor_of((found[ROWS - 1].created_at, found[ROWS - 1].delivery_id)) if len(found) > ROWS else ""
    may_change = visit.may(Permission.MANAGE_ALERTS)
    page = DeliveriesPage(
        rows=tuple(_delivery_row(visit, one, names) for one in found[:ROWS]),
        states=tuple(STATES.items()),
        channels=tuple(sorted(names.items(), key=lambda item: item[1].lower())),
        state=state,
        channel=channel_id,
        crossing=str(crossing_id or ""),
        may_change=may_change,
        first_url=visit.url("deliveries", kept) if after else "",
        next_url=visit.url("deliveries", {**kept, "cursor": following}) if following else "",
        every_url=visit.url("deliveries"),
        channels_url=visit.url("alerts"),
        has_open=any(one.next_attempt_at and one.next_attempt_at <= visit.at for one in found[:ROWS]),
    )
    crumbs = (Crumb("Alerts", visit.url("alerts")), Crumb("Deliveries"))
    return visit.render("portal/deliveries.html", frame=visit.frame("Deliveries", *crumbs), deliveries=page)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _position(cursor: str | None) -> selectors.Position | None:
    """Where a page before ended; None where the text is no cursor of ours."""
    try:
        return selectors.position_after(cursor) if cursor else None
    except DomainError:
        return None


def _delivery_row(visit: Visit, one: Delivery, names: Mapping[int, str]) -> DeliveryRow:
    return DeliveryRow(
        title=one.title,
        severity=one.severity,
        channel=names.get(one.channel_id, ""),
        created_at=one.created_at,
        state=one.state,
        says=STATES[one.state],
        is_repeat=one.is_repeat,
        tries=one.tries,
        next_at=one.next_attempt_at if one.state in ("pending", "held") else None,
        error=one.error,
        message_id=webhook_id(one.message_id),
        log=tuple(_try_line(entry) for entry in reversed(one.log)),
        retry_url=f"{visit.url('deliveries')}/{one.delivery_id}/retry" if one.state in ("pending", "failed") else "",
    )


def _try_line(entry: Mapping[str, Any]) -> TryLine:
    status = entry["status"]
    result = entry["error"] or (f"accepted with {status}" if status else "accepted")
    return TryLine(datetime.fromisoformat(entry["at"]), result, entry["milliseconds"], entry["answer"])


@organization_page(section="alerts", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_ALERTS, is_act=True)
def delivery_retry(visit: Visit, delivery_id: UUID) -> HttpResponse:
    services.retry(org=visit.org, delivery_id=delivery_id, actor=visit.user)
    hint_tell(visit.org.pk)
    return HttpResponseRedirect(visit.url("deliveries"))
