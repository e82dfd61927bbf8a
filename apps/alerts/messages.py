"""What a crossing says: a subject, a text, a mail and the body of a webhook. Pure, and it never fails.

Names come from tenants and from events, so each is defused before it stands in a sentence: it is one line, cannot
become a link or a mention in a mail client or a chat room, and cannot turn the direction of the text. A webhook's body
holds them as they are.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from html import escape
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from apps.alerts import signal_words

VALUE_LENGTH_MAX = 120
PAYLOAD_BYTES_MAX = 20_000
_FACT_LENGTH_MAX = 500
_LINES_MAX = 50
# Invisible, and keeps what stands on both sides of it from being read as one word, as an address or as a mention.
_JOINER = "\u2060"
_LOOKALIKE = str.maketrans({"<": "‹", ">": "›", "`": "'", "\\": "/", "*": "∗", "~": "∼", "|": "¦"})

TYPES = {
    "threshold": "budget.threshold_crossed",
    "forecast": "budget.forecast_crossed",
    "refused": "budget.call_refused",
    "overrun": "budget.overrun",
    "settled_late": "budget.settled_late",
    "raise_asked": "budget.raise_asked",
    "run_bound": "run.bound_reached",
    "stopped": "stop.made",
    "lifted": "stop.lifted",
    "ungoverned": "spend.ungoverned",
    "signal_opened": "signal.opened",
    "signal_closed": "signal.closed",
    "signal_digest": "signal.digest",
    "test": "channel.test",
}
_DIMENSIONS = {"key": "API key", "api_key": "API key", "task_type": "task type"}
_BOUNDS = {
    "max_cost_usd": "cost",
    "max_steps": "steps",
    "max_attempts": "attempts per step",
    "max_depth": "depth of child runs",
    "max_children": "child runs",
    "max_seconds": "seconds",
    "max_same_tool_calls": "identical tool calls",
}


@dataclass(frozen=True, slots=True)
class Place:
    """The organization that a message speaks of: its name, its slug, its zone, and where the site is."""

    organization: str
    slug: str
    zone: ZoneInfo
    site: str

    def url(self, path: str) -> str:
        return f"{self.site.rstrip('/')}/o/{self.slug}/{path}"


@dataclass(frozen=True, slots=True)
class Notice:
    """A crossing as it was written; amounts in `facts` are decimal strings of USD, instants are RFC 3339."""

    id: str
    kind: str
    severity: str
    at: datetime
    team: str | None = None
    budget_id: int | None = None
    run_id: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """One notice in words: what happened, how things stand, what happens next, and the page about it."""

    title: str
    lead: str
    rows: tuple[tuple[str, str], ...]
    after: str
    severity: str
    url: str


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    text: str
    html: str


# --- values ------------------------------------------------------------------------------------------


def clean(value: object, length_max: int = VALUE_LENGTH_MAX) -> str:
    """One line without control, format and direction characters, cut to `length_max`."""
    kept = "".join(" " if unicodedata.category(mark)[0] in "CZ" else mark for mark in str(value)[: length_max * 4])
    line = " ".join(kept.split())
    return line if len(line) <= length_max else line[: length_max - 1] + "…"


def defused(value: object) -> str:
    """The value as text that no mail client and no chat service reads as markup, a link or a mention."""
    text = clean(value).translate(_LOOKALIKE)
    text = re.sub(r"[@#!]", lambda mark: mark[0] + _JOINER, text)
    text = re.sub(r":(?=\S)", ":" + _JOINER, text).replace("//", f"/{_JOINER}/").replace("](", f"]{_JOINER}(")
    return re.sub(r"(?<=[^\W\d])\.(?=[^\W\d])|(?<=\w)\.(?=[^\W\d])", "." + _JOINER, text)


def usd(value: object) -> str:
    """An amount with two digits after the point, small ones with four that count; "unknown" for what is none."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return "unknown"
    if not amount.is_finite() or abs(amount) >= Decimal("1e24"):
        return "unknown"
    if amount and abs(amount) < Decimal("0.1"):
        return f"{Decimal(f'{amount:.4g}'):f} USD"
    return f"{amount:,.2f} USD"


def moment(value: object, zone: ZoneInfo) -> str:
    """A local time as "1 Dec 2026", with the clock where it is not midnight; "" for what is no instant."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        local = at.astimezone(zone) if at.tzinfo else at
    except (ValueError, OverflowError):
        return ""
    clock = "" if (local.hour, local.minute) == (0, 0) else f" {local:%H:%M}"
    return f"{local.day} {local:%b %Y}{clock}"


def scope_words(scope: object) -> str:
    if not isinstance(scope, Mapping) or not scope:
        return "the whole organization"
    parts = []
    for dimension, value in list(scope.items())[:10]:
        name = _DIMENSIONS.get(str(dimension), str(dimension).replace("_", " "))
        parts.append(f"each {defused(name)}" if value == "*" else f"{defused(name)} {defused(value)}")
    return ", ".join(parts)


# --- words of each kind ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Facts:
    """Facts by name, each "" where it is missing."""

    notice: Notice
    place: Place

    def text(self, name: str, otherwise: str = "") -> str:
        value = self.notice.facts.get(name)
        return otherwise if value is None or value == "" else defused(value)

    def usd(self, name: str) -> str:
        value = self.notice.facts.get(name)
        return "" if value is None else usd(value)

    def moment(self, name: str) -> str:
        return moment(self.notice.facts.get(name), self.place.zone)

    @property
    def budget(self) -> str:
        return f"“{self.text('budget', 'unnamed')}”"


Words = Callable[[_Facts], tuple[str, str, str]]


def _stands(facts: _Facts) -> str:
    spent, limit, held = facts.usd("spent_usd"), facts.usd("limit_usd"), facts.usd("held_usd")
    if not spent or not limit:
        return ""
    more = "" if not held or held == "0.00 USD" else f", and {held} more is held for calls under way"
    return f"{spent} of {limit} is spent{more}."


def _next_at_limit(facts: _Facts, *, reached: bool) -> str:
    until = facts.moment("period_end")
    until = f" until {until}" if until else ""
    match facts.notice.facts.get("mode"):
        case "block" if reached:
            return f"Calls that would go beyond the limit are refused{until}, or until the limit is raised."
        case "block":
            return "At the limit, calls that would go beyond it are refused."
        case "downgrade" if reached:
            return f"Only the cheaper models that the budget names are allowed{until}."
        case "downgrade":
            return "At the limit, only the cheaper models that the budget names are allowed."
        case "notify":
            return "Nothing is refused: this budget only tells."
    return ""


def _threshold(facts: _Facts) -> tuple[str, str, str]:
    percent = facts.text("threshold", "?")
    reached = percent.isdecimal() and int(percent) >= 100
    what = "has reached its limit" if percent == "100" else f"has reached {percent} % of its limit"
    return f"Budget {facts.budget} {what}", _stands(facts), _next_at_limit(facts, reached=reached)


def _forecast(facts: _Facts) -> tuple[str, str, str]:
    rate, forecast, end = facts.usd("run_rate_usd"), facts.usd("forecast_usd"), facts.moment("period_end")
    says = "The forecast says" if forecast else "At the run rate so far it comes to"
    lead = f"{says} {forecast or rate}{f' by {end}' if end else ''}. " if forecast or rate else ""
    title = f"Budget {facts.budget} is on course for {facts.text('threshold', '?')} % of its limit"
    return title, lead + _stands(facts), _next_at_limit(facts, reached=False)


def _refused(facts: _Facts) -> tuple[str, str, str]:
    asked = facts.usd("hold_usd")
    lead = f"A call asked for {asked} and was refused. " if asked else "A call was refused. "
    after = "Further calls that do not fit are refused too; this is told once a period. Raise the limit, or wait."
    return f"Budget {facts.budget} refuses calls", lead + _stands(facts), after


def _overrun(facts: _Facts) -> tuple[str, str, str]:
    over, cost = facts.usd("over_usd"), facts.usd("cost_usd")
    lead = f"A call cost {cost}, {over} more than was held for it. " if over and cost else ""
    after = "It is booked in full and shown as overrun. Holds that match what calls cost keep the cap exact."
    return f"A call cost more than was held in budget {facts.budget}", lead + _stands(facts), after


def _settled_late(facts: _Facts) -> tuple[str, str, str]:
    cost = facts.usd("cost_usd")
    lead = f"A call of {cost} was settled after its hold had expired. " if cost else ""
    after = "It is booked in full and shown as overrun. Ask for a longer hold, or extend it while a call runs."
    return f"A call was settled late in budget {facts.budget}", lead + _stands(facts), after


def _raise_asked(facts: _Facts) -> tuple[str, str, str]:
    who, amount, until = facts.text("asked_by", "Somebody"), facts.usd("amount_usd"), facts.moment("expires_at")
    lead = f"{who} asks for {amount or 'more'}{f' until {until}' if until else ''}."
    return f"More is asked for budget {facts.budget}", lead, "Nothing changes until it is approved or refused."


def _run_bound(facts: _Facts) -> tuple[str, str, str]:
    name = _BOUNDS.get(str(facts.notice.facts.get("bound"))) or facts.text("bound", "a bound")
    limit = facts.usd("limit") if name == "cost" else facts.text("limit", "its maximum")
    workflow = facts.text("workflow")
    lead = f"It may have {limit} ({name}){f' as a run of workflow {workflow}' if workflow else ''}."
    after = "Decisions for this run are refused until it ends. Calls that do not ask are booked all the same."
    return f"Run {facts.text('run_id', 'without id')} has reached its bound: {name}", lead, after


def _stop_words(facts: _Facts) -> str:
    kind, target = facts.text("kind", "organization"), facts.text("target")
    return "the whole organization" if kind == "organization" else f"{kind} {target}"


def _stopped(facts: _Facts) -> tuple[str, str, str]:
    after = "Decisions for it are denied until the stop is lifted."
    return f"Emergency stop for {_stop_words(facts)}", f"{facts.text('actor', 'Somebody')} stopped it.", after


def _lifted(facts: _Facts) -> tuple[str, str, str]:
    after = "Decisions for it are made as before."
    return f"The stop for {_stop_words(facts)} is lifted", f"{facts.text('actor', 'Somebody')} lifted it.", after


def _ungoverned(facts: _Facts) -> tuple[str, str, str]:
    amount = facts.usd("amount_usd") or facts.usd("cost_usd")
    lead = f"A client let calls through while the service could not be asked{f': {amount}' if amount else ''}."
    return "Calls were let through without a decision", lead, "They are booked and count in every budget."


def _signal(say: Callable[..., tuple[str, str, str]]) -> "Words":
    def words(facts: _Facts) -> tuple[str, str, str]:
        def text(value: object) -> str:
            return "" if value is None else defused(value)

        return say(facts.notice.facts, text, usd, lambda value: moment(value, facts.place.zone))

    return words


def _test(facts: _Facts) -> tuple[str, str, str]:
    name = facts.text("channel", "this channel")
    return f"A test of channel “{name}”", "Messages of this channel arrive here.", "Nothing is to be done."


def _other(facts: _Facts) -> tuple[str, str, str]:
    return f"{defused(facts.notice.kind).capitalize() or 'Alert'} {facts.budget}", _stands(facts), ""


_WORDS: Mapping[str, Words] = {
    "threshold": _threshold,
    "forecast": _forecast,
    "refused": _refused,
    "overrun": _overrun,
    "settled_late": _settled_late,
    "raise_asked": _raise_asked,
    "run_bound": _run_bound,
    "stopped": _stopped,
    "lifted": _lifted,
    "ungoverned": _ungoverned,
    "signal_opened": _signal(signal_words.opened),
    "signal_closed": _signal(signal_words.closed),
    "signal_digest": _signal(signal_words.digest),
    "test": _test,
}


def said(notice: Notice, place: Place) -> Said:
    """The notice in words."""
    facts = _Facts(notice, place)
    title, lead, after = _WORDS.get(notice.kind, _other)(facts)
    severity = notice.severity if notice.severity in ("info", "warning", "critical") else "info"
    return Said(title, lead, tuple(_rows(facts)), after, severity, _page(notice, place))


def _rows(facts: _Facts) -> Sequence[tuple[str, str]]:
    start, end = facts.moment("period_start"), facts.moment("period_end")
    known = facts.notice.facts
    rows = [
        ("Scope", scope_words(known["scope"]) if "scope" in known else ""),
        ("Team", defused(facts.notice.team) if facts.notice.team and not known.get("scope") else ""),
        ("Limit", facts.usd("limit_usd")),
        ("Spent", facts.usd("spent_usd")),
        ("Held", facts.usd("held_usd")),
        ("Period", f"{start} to {end}" if start and end else ""),
        ("Reason", facts.text("reason")),
        ("When", moment(facts.notice.at, facts.place.zone) + f" ({facts.place.zone.key})"),
    ]
    return [(label, value) for label, value in rows if value]


def _page(notice: Notice, place: Place) -> str:
    run = notice.run_id or notice.facts.get("run_id")
    match notice.kind:
        case "test":
            return place.url("alerts")
        case "run_bound" if run:
            return place.url(f"events?range=30d&run_id={quote(str(run)[:256].replace(chr(0), ''), safe='')}")
        case "ungoverned":
            return place.url("events")
        case "stopped" | "lifted":
            return place.url("stop")
        case "signal_opened" | "signal_closed":
            number = str(notice.facts.get("incident", ""))
            return place.url(f"signals/{number}" if number.isascii() and number.isdigit() else "signals")
        case "signal_digest":
            return place.url("signals")
    return place.url("budgets")


# --- messages ----------------------------------------------------------------------------------------


def message_of(notices: Sequence[Notice], place: Place) -> Message:
    """One message of one notice, or of several that were held back."""
    told = [said(notice, place) for notice in notices[:_LINES_MAX]]
    organization = defused(place.organization)
    if len(notices) == 1:
        (one,) = told
        subject = f"{_flag(one.severity)}{one.title} · {organization}"
        return Message(clean(subject, 200), _text(one), _html(one.title, [one], organization, place))
    worst = next((name for name in ("critical", "warning") if any(one.severity == name for one in told)), "info")
    title = f"{len(notices)} alerts"
    text = "\n\n".join(_text(one, heading=True) for one in told)
    if len(notices) > len(told):
        text += f"\n\nAnd {len(notices) - len(told)} more: {place.url('alerts/deliveries')}"
    subject = clean(f"{_flag(worst)}{title} · {organization}", 200)
    return Message(subject, text, _html(title, told, organization, place, left_out=len(notices) - len(told)))


def _flag(severity: str) -> str:
    return "" if severity == "info" else f"[{severity}] "


def _text(one: Said, *, heading: bool = False) -> str:
    lines = [f"{_flag(one.severity)}{one.title}"] if heading else []
    lines += [one.lead, *(f"{label}: {value}" for label, value in one.rows), one.after, one.url]
    return "\n".join(line for line in lines if line)


_COLOURS = {"info": ("#44546a", "#eef1f5"), "warning": ("#8a5a00", "#fff3d6"), "critical": ("#a4161a", "#fde8e8")}
_RULE = '<hr style="margin:0 0 20px;border:0;border-top:1px solid #e2e5ea">'
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


def _html(title: str, told: Sequence[Said], organization: str, place: Place, *, left_out: int = 0) -> str:
    """A mail of tables and inline styles, which every mail client draws."""
    parts = [_RULE.join(_card(one, show_title=len(told) > 1) for one in told)]
    if left_out:
        parts.append(f'<p style="margin:0 0 16px;font-size:14px">And {left_out} more.</p>')
    head = f'<h1 style="margin:0 0 16px;font-size:20px;line-height:28px;font-weight:600">{escape(title)}</h1>'
    foot = (
        f'<p style="margin:16px 0 0;font-size:12px;line-height:18px;color:#6b7280">Sent to a channel of'
        f' {escape(organization)} by FinOps for AI. <a href="{escape(place.url("alerts"))}" style="color:#6b7280">'
        "Channels and what they are told</a></p>"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
        f' content="width=device-width"><title>{escape(title)}</title></head>'
        f'<body style="margin:0;padding:24px 12px;background:#f4f5f7;color:#1f2937;{_FONT}">'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center">'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:560px;'
        'background:#ffffff;border:1px solid #e2e5ea;border-radius:8px"><tr><td style="padding:24px;text-align:left">'
        f"{head}{''.join(parts)}{foot}</td></tr></table></td></tr></table></body></html>"
    )


def _card(one: Said, *, show_title: bool) -> str:
    ink, ground = _COLOURS[one.severity]
    badge = (
        f'<span style="display:inline-block;padding:2px 8px;border-radius:10px;font-size:12px;line-height:18px;'
        f'font-weight:600;color:{ink};background:{ground}">{one.severity}</span>'
    )
    title = f'<h2 style="margin:8px 0;font-size:16px;line-height:24px">{escape(one.title)}</h2>' if show_title else ""
    rows = "".join(
        f'<tr><td style="padding:4px 16px 4px 0;color:#6b7280;font-size:14px;white-space:nowrap;vertical-align:top">'
        f'{escape(label)}</td><td style="padding:4px 0;font-size:14px">{escape(value)}</td></tr>'
        for label, value in one.rows
    )
    lead, after = (
        f'<p style="margin:12px 0;font-size:15px;line-height:22px">{escape(text)}</p>' if text else ""
        for text in (one.lead, one.after)
    )
    button = (
        f'<p style="margin:16px 0 24px"><a href="{escape(one.url)}" style="display:inline-block;padding:8px 16px;'
        'border-radius:6px;background:#1f2937;color:#ffffff;font-size:14px;text-decoration:none">Open the page</a></p>'
    )
    table = f'<table role="presentation" cellpadding="0" cellspacing="0">{rows}</table>'
    return f"<div>{badge}{title}{lead}{table}{after}{button}</div>"


# --- webhooks ----------------------------------------------------------------------------------------


def payload_of(notice: Notice, place: Place) -> str:
    """The body of a webhook, JSON of at most `PAYLOAD_BYTES_MAX` bytes: {"type", "timestamp", "data"}."""
    one = said(notice, place)
    data = {
        "id": notice.id,
        "kind": notice.kind,
        "severity": one.severity,
        "organization": place.slug,
        "team": notice.team,
        "budget_id": notice.budget_id,
        "run_id": notice.run_id,
        "title": one.title.replace(_JOINER, ""),
        "url": one.url,
    }
    body = {
        "type": TYPES.get(notice.kind, f"alert.{notice.kind}"),
        "timestamp": notice.at.isoformat(),
        "data": {**data, "facts": dict(notice.facts)},
    }
    for facts in (notice.facts, _shortened(notice.facts), {"truncated": True}):
        body["data"] = {**data, "facts": dict(facts)}
        text = json.dumps(body, default=str)
        if len(text.encode()) < PAYLOAD_BYTES_MAX:
            break
    return text


def _shortened(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(name)[:100]: value[:_FACT_LENGTH_MAX] if isinstance(value, str) else value for name, value in facts.items()
    }
