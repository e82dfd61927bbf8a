"""Statements by mail: what is sent and to whom, how a mail looks, what became of each, and the way out of digests."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from apps.alerts import mail_rounds, mail_terms
from apps.alerts.mail_letters import About, html_of, make
from apps.alerts.mail_terms import Audience
from apps.alerts.mail_tokens import unsubscription_of
from apps.alerts.models_statement_mail import Kind, MailTerms, Recipient, StatementMail
from apps.alerts.tasks import hint_mail
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.periods import month_before
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_prices import FormError
from apps.portal.pages_statement_mail import AttemptLine, MailPage, MailRow, RecipientPart, RecipientRow
from apps.reports.statements import parse_month
from apps.teams.selectors import list_teams

ROWS = 50
State = StatementMail.State
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COVERS = (
    (Recipient.Covers.EVERYTHING, "every statement"),
    (Recipient.Covers.UNATTRIBUTED, "the statement without a team"),
    (Recipient.Covers.TEAM, "the statement of one team"),
)
# What people call a state, what it means, and how loud it is said.
STATES = {
    State.QUEUED: ("queued", "It waits for its turn.", "open"),
    State.CLAIMED: ("being made", "It is rendered; nothing has left yet.", "open"),
    State.HANDING: ("being sent", "The mail server is being given it.", "open"),
    State.SENT: ("sent", "The mail server took it.", ""),
    State.REFUSED: ("refused", "It was not taken, and is not tried again.", "bad"),
    State.FAILED: ("failed", "It was not taken now.", "risk"),
    State.UNCLEAR: ("unclear", "Nobody knows whether it arrived: it is not sent again by itself.", "bad"),
}
KINDS = {Kind.MONTHLY: "", Kind.WEEKLY: "week from ", Kind.PREVIEW: "before the end of ", Kind.TEST: "test of "}
_NUMBERS = ("hours_after", "weekly_day", "weekly_hour", "preview_days")
_SWITCHES = ("monthly", "weekly", "preview")
# A mail has inline styles and its pictures in it, and nothing else: no script, no form, no address of anybody.
PREVIEW_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; sandbox allow-popups allow-top-navigation-by-user-activation"
)


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS)
def statement_mail(visit: Visit) -> HttpResponse:
    """Settings, recipients and the log; the forms are told apart by `act`."""
    if visit.request.method != "POST":
        return _page(visit, {}, None)
    given = {name: str(value)[:400].strip() for name, value in visit.request.POST.items()}
    try:
        _act(visit, given)
    except DomainError as wrong:
        return _page(visit, given, FormError.of(wrong))
    return HttpResponseRedirect(visit.url("statement_mail"))


def _act(visit: Visit, given: Mapping[str, str]) -> None:
    org, actor = visit.org, visit.user
    match given.get("act", ""):
        case "terms":
            said: dict[str, Any] = {name: _number(name, given.get(name, "")) for name in _NUMBERS}
            said |= {name: name in given for name in _SWITCHES}
            mail_terms.change_terms(org=org, actor=actor, **said)
        case "add" | "off" as act:
            mail_terms.add_recipient(
                org=org,
                actor=actor,
                address=given.get("address", ""),
                covers=given.get("covers", ""),
                team=(given.get("team") or None) if given.get("covers") == Recipient.Covers.TEAM else None,
                is_off=act == "off",
            )
        case "confirm":
            mail_terms.confirm_address(org=org, address=given.get("address", ""), actor=actor)
        case "send":
            mail_rounds.send_month(org=org, month=parse_month(given.get("month", "")), actor=actor)
            hint_mail(org.pk)
        case "test":
            month = parse_month(given.get("month", ""))
            mail_rounds.send_test(org=org, month=month, address=actor.email, actor=actor)
            hint_mail(org.pk)
        case other:
            raise DomainError("parameter_invalid", f"act is '{other[:40]}': use a form of the page.", param="act")


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise DomainError(f"{name}_invalid", f"'{text[:20]}' is no number.", param=name)
    return int(text)


@organization_page(
    section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS, is_act=True
)
def recipient_remove(visit: Visit, recipient_id: int) -> HttpResponse:
    mail_terms.remove_recipient(org=visit.org, recipient_id=recipient_id, actor=visit.user)
    return HttpResponseRedirect(visit.url("statement_mail"))


@organization_page(
    section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS, is_act=True
)
def mail_resend(visit: Visit, mail_id: int) -> HttpResponse:
    mail_rounds.resend(org=visit.org, mail_id=mail_id, actor=visit.user)
    hint_mail(visit.org.pk)
    return HttpResponseRedirect(visit.url("statement_mail"))


@organization_page(section="statements", permission=Permission.MANAGE_STATEMENTS)
def mail_preview(visit: Visit) -> HttpResponse:
    """The mail of a month as its reader would see it, with nothing of ours around it: an address of the list, or
    without one whoever gets everything.
    """
    asked = str(visit.request.GET.get("month", ""))
    month = parse_month(asked) if asked else month_before(visit.calendar.month_of(visit.at))
    address = str(visit.request.GET.get("to", ""))
    with tenant(visit.org):
        to = mail_terms.audiences(visit.org).get(address) if address else Audience("", everything=True)
    if to is None:
        raise NotFound("recipient")
    kind = Kind.MONTHLY if address else Kind.TEST
    made = make(visit.org, to, About(kind, month, may_be_draft=True), at=visit.at)
    response = HttpResponse(html_of(made, embeds=True))
    response.headers["Content-Security-Policy"] = PREVIEW_POLICY
    return response


# --- the page -------------------------------------------------------------------------------------------


def _page(visit: Visit, given: Mapping[str, str], error: FormError | None) -> HttpResponse:
    query = visit.request.GET
    state = str(query.get("state", ""))
    state = state if state in State.values else ""
    after = _position(str(query.get("cursor", "")))
    last_month = f"{month_before(visit.calendar.month_of(visit.at)):%Y-%m}"
    with tenant(visit.org):
        terms = mail_terms.terms_of(visit.org)
        audiences = mail_terms.audiences(visit.org)
        entered = mail_terms.recipients(visit.org)
        mails = mail_rounds.find_mails(visit.org, limit=ROWS + 1, state=state, after=after)
        unclear = mail_rounds.count_unclear(visit.org)
        teams = tuple(team.slug for team in list_teams(visit.org))
    kept = {"state": state} if state else {}
    following = cursor_of(mails[ROWS - 1].pk) if len(mails) > ROWS else ""
    may_change = visit.may(Permission.MANAGE_STATEMENTS)
    preview_url = visit.url("mail_preview", {"month": last_month}) if may_change else ""
    page = MailPage(
        given={**_stored(terms), "month": last_month, **_typed(given, error)},
        error=error,
        wrong_form=given.get("act", "") if error else "",
        weekdays=tuple((str(number), name) for number, name in enumerate(WEEKDAYS)),
        zone=visit.calendar.zone_at(visit.at).key,
        teams=teams,
        covers=COVERS,
        recipients=tuple(_recipients(visit, audiences.values(), entered, preview_url)),
        mails=tuple(_mail_row(visit, mail) for mail in mails[:ROWS]),
        states=tuple((value, says[0]) for value, says in STATES.items()),
        state=state,
        unclear=unclear,
        first_url=visit.url("statement_mail", kept) if after else "",
        next_url=visit.url("statement_mail", {**kept, "cursor": following}) if following else "",
        says=_says(terms),
        may_change=may_change,
        my_address=visit.user.email,
        preview_url=preview_url,
    )
    frame = visit.frame("Statements by mail", Crumb("Statements", visit.url("statements")), Crumb("Mail"))
    return visit.render("portal/statement_mail.html", frame=frame, mail=page, error=error)


def _typed(given: Mapping[str, str], error: FormError | None) -> dict[str, str]:
    """What was typed into the form that was wrong; a switch that was left off is not among what it sends."""
    if error is None:
        return {}
    off = dict.fromkeys(_SWITCHES, "") if given.get("act") == "terms" else {}
    return {**off, **given}


def _stored(terms: MailTerms) -> dict[str, str]:
    switches = {name: "on" if getattr(terms, name) else "" for name in _SWITCHES}
    return {"covers": "everything", **switches, **{name: str(getattr(terms, name)) for name in _NUMBERS}}


def _says(terms: MailTerms) -> str:
    parts = []
    if terms.monthly:
        after = f", {terms.hours_after} hours later" if terms.hours_after else ""
        parts.append(f"Statements are mailed once a month is final{after}.")
    if terms.weekly:
        parts.append(f"A digest goes out on {WEEKDAYS[terms.weekly_day]} at {terms.weekly_hour}:00.")
    if terms.preview:
        parts.append(f"A preview goes out {terms.preview_days} days before the month's end.")
    return " ".join(parts) or "No statement is mailed by itself."


def _position(cursor: str) -> int | None:
    """Where a page before ended; None where the text is no cursor of ours."""
    try:
        found = position_of(cursor, int) if cursor else None
    except DomainError:
        return None
    return found if found is not None and 0 <= found < 2**63 else None


def _recipients(
    visit: Visit, audiences: Iterable[Audience], entered: Sequence[Recipient], preview_url: str
) -> Iterable[RecipientRow]:
    may_change = visit.may(Permission.MANAGE_STATEMENTS)
    rows: dict[str, list[Recipient]] = {}
    for row in entered:
        rows.setdefault(row.address, []).append(row)
    for one in sorted(audiences, key=lambda one: one.address):
        of = rows.get(one.address, [])
        named = {row.team for row in of if row.team is not None}
        leads = [
            RecipientPart(f"{team}, as its lead", False, "", team if may_change else "")
            for team in sorted(one.leads - named)
        ]
        parts = [
            RecipientPart(
                _label(row),
                row.is_off,
                visit.url_of("recipient_remove", str(row.pk)) if may_change else "",
                "",
            )
            for row in of
        ]
        yield RecipientRow(
            address=one.address,
            is_member=one.is_member,
            bounce=one.mailbox.bounce if one.mailbox is not None and one.has_bounced else "",
            declined=_declined(one),
            parts=(*leads, *parts),
            preview_url=f"{preview_url}&to={quote(one.address, safe='')}" if preview_url and not one.is_empty else "",
        )


def _label(row: Recipient) -> str:
    if row.covers == Recipient.Covers.TEAM:
        return str(row.team)
    return dict(COVERS)[Recipient.Covers(row.covers)]


def _declined(one: Audience) -> str:
    words = [label for kind, label in ((Kind.WEEKLY, "digest"), (Kind.PREVIEW, "preview")) if one.declines(kind)]
    return f"wants no {' and no '.join(words)}" if words else ""


def _mail_row(visit: Visit, mail: StatementMail) -> MailRow:
    label, says, tone = STATES[State(mail.state)]
    period = f"{mail.period.day} {mail.period:%B %Y}" if mail.kind == Kind.WEEKLY else f"{mail.period:%B %Y}"
    may_resend = visit.may(Permission.MANAGE_STATEMENTS) and mail.due_at is None
    return MailRow(
        address=mail.address,
        about=f"{KINDS[Kind(mail.kind)]}{period}",
        made_at=mail.made_at,
        state=label,
        says=says,
        tone=tone,
        is_bounced=mail.bounced_at is not None,
        attempts=mail.attempts,
        due_at=mail.due_at if mail.state == State.FAILED else None,
        reply=mail.reply,
        log=tuple(
            AttemptLine(
                datetime.fromisoformat(entry["at"]),
                f"attempt {entry['attempt']}: {entry['state']}{', ' + entry['reply'] if entry['reply'] else ''}",
                entry["by"],
            )
            for entry in reversed(mail.log)
        ),
        resend_url=visit.url_of("mail_resend", str(mail.pk)) if may_resend else "",
        asks=(
            f"Nobody knows whether {mail.address} has this mail. A second one says that it was sent again."
            if mail.state == State.UNCLEAR
            else ""
        ),
    )


# --- the way out of digests -----------------------------------------------------------------------------


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """For whoever has the mail, signed in or not: the page asks, a POST ends it, as mail programs send one by
    themselves (RFC 8058), and the page after it takes that back. The token is what a form's own would be.
    """
    wanted = unsubscription_of(token)
    org = Organization.objects.filter(pk=wanted.org_id).first() if wanted else None
    if wanted is None or org is None:
        return render(request, "portal/unsubscribe.html", {"refusal": True}, status=404)
    comes_back = "again" in request.POST
    if comes_back:
        mail_terms.subscribe_again(wanted)
    elif request.method == "POST":
        mail_terms.unsubscribe(wanted)
    named = {
        "organization": org.name,
        "address": wanted.address,
        "kind": {Kind.WEEKLY: "weekly digest", Kind.PREVIEW: "preview before a month ends"}[Kind(wanted.kind)],
        "done": request.method == "POST",
        "comes_back": comes_back,
    }
    return render(request, "portal/unsubscribe.html", named)
