"""A statement mail, made: what its reader may see now, in words, as a picture and as files."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from email import encoders
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.mail.message import SafeMIMEMultipart
from django.template.loader import render_to_string
from django.utils.text import slugify

from apps.alerts.mail_content import SHOWN_MAX, Envelope, Letter, Told, letter_of
from apps.alerts.mail_terms import Audience
from apps.alerts.mail_tokens import HEADER, Attempt, Unsubscription, message_id, token_of, unsubscribe_url
from apps.alerts.messages import Place
from apps.alerts.models_statement_mail import Kind
from apps.alerts.senders import REPEAT_HEADER
from apps.core.errors import DomainError
from apps.core.periods import local_start, month_before
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.reports.changes_explained import explain
from apps.reports.document import Document
from apps.reports.drafts import draft_documents
from apps.reports.papers import PAPERS
from apps.reports.papers.pdf import chart_png
from apps.reports.selectors import COSTS, SpendQuestion, spend
from apps.reports.statements import final_statements

# The files of so many statements are attached one by one, where they are small enough together, as they are carried:
# many a mail server takes no mail above 10 MB.
ATTACHED_MAX = 5
ATTACHED_BYTES_MAX = 8 * 1024 * 1024
FORMATS = ("pdf", "csv")


@dataclass(frozen=True, slots=True)
class File:
    name: str
    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Made:
    """A mail before it is addressed. `charts` are the pictures of its sections by their Content-ID."""

    letter: Letter
    charts: dict[str, bytes]
    files: Sequence[File]

    @property
    def is_empty(self) -> bool:
        """Whether it is about no statement."""
        return not (self.letter.sections or self.letter.listed)


@dataclass(frozen=True, slots=True)
class About:
    """What a mail is about: its kind, its period, and whether an earlier copy may have arrived. `may_be_draft`: of a
    month that is not final, show what its mail would be.
    """

    kind: str
    period: date
    is_repeat: bool = False
    may_be_draft: bool = False


def make(org: Organization, to: Audience, about: About, *, at: datetime) -> Made:
    """Everything that the reader may see of the period now. Raises `DomainError` (`too_many_lines`) of a draft."""
    with tenant(org, repeatable_read=True):
        clock = calendar(org)
        month = about.period if about.kind != Kind.WEEKLY else clock.month_of(at)
        found = _documents(org, to, about, month, at)
        shown = found if len(found) <= SHOWN_MAX else []
        before = _before(org, month, shown) if _is_explained(about.kind) else {}
        week = _week(org, clock.zone_at(at), about.period) if about.kind == Kind.WEEKLY and shown else None
    charts = {f"chart-{number}": chart_png(one) for number, one in enumerate(shown)}
    told = [
        Told(
            document=one,
            change=explain(before.get(one.team), one) if _is_explained(about.kind) else None,
            week_usd=None if week is None else week.get(one.team, Decimal(0)),
            chart=f"cid:chart-{number}" if charts[f"chart-{number}"] else "",
        )
        for number, one in enumerate(shown)
    ]
    files = _files(found) if _is_explained(about.kind) else []
    envelope = Envelope(
        kind=about.kind,
        month=f"{month:%Y-%m}",
        leads=sorted(to.leads & to.teams) if not to.everything else (),
        is_repeat=about.is_repeat,
        attached=_attached(found, files, about.kind),
        unsubscribe_url=_unsubscribe(org, to, about.kind),
    )
    place = Place(org.name, org.slug, clock.zone_at(at), settings.BASE_URL)
    letter = letter_of(told, [] if shown else found, place, envelope)
    return Made(letter, {name: picture for name, picture in charts.items() if picture}, files)


def _is_explained(kind: str) -> bool:
    """Whether it is about whole statements: with files, and with what changed. Digests are of drafts."""
    return kind in (Kind.MONTHLY, Kind.TEST)


def _documents(org: Organization, to: Audience, about: About, month: date, at: datetime) -> list[Document]:
    teams: list[str | None] | None = None
    if not to.everything:
        teams = [*sorted(to.teams), *([None] if to.unattributed else [])]
    if _is_explained(about.kind):
        found = final_statements(org, month, teams)
        if found or not about.may_be_draft:
            return found
    only = (teams[0] or "") if teams is not None and len(teams) == 1 else None
    return [one for one in draft_documents(org, month, at=at, team=only) if to.covers(one.team)]


def _before(org: Organization, month: date, shown: Sequence[Document]) -> dict[str | None, Document]:
    if not shown:
        return {}
    found = final_statements(org, month_before(month), [one.team for one in shown])
    return {one.team: one for one in found}


def _week(org: Organization, zone: ZoneInfo, first: date) -> dict[str | None, Decimal | None]:
    start, end = (local_start(zone, day) for day in (first, first + timedelta(days=7)))
    answer = spend(org, SpendQuestion(start=start, end=end, group_by=("team",), measures=COSTS))
    return {row.groups[0]: row.sums.cost_usd for row in answer.rows}


def _unsubscribe(org: Organization, to: Audience, kind: str) -> str:
    """Digests are for whoever wants them; a statement is a bill."""
    return unsubscribe_url(Unsubscription(org.pk, to.address, kind)) if kind in (Kind.WEEKLY, Kind.PREVIEW) else ""


# --- files ----------------------------------------------------------------------------------------------


def _files(found: Sequence[Document]) -> list[File]:
    """PDF and CSV of each of a few statements, or one CSV of all; none where that is too large, too."""
    if not found:
        return []
    if len(found) <= ATTACHED_MAX:
        files = _of_each(found)
        if files and sum(_carried_bytes(file.content) for file in files) <= ATTACHED_BYTES_MAX:
            return files
    content = _together(found)
    if _carried_bytes(content) > ATTACHED_BYTES_MAX:
        return []
    return [File(f"statements-{found[0].month}.csv", content, PAPERS["csv"].content_type)]


def _of_each(found: Sequence[Document]) -> list[File]:
    """None where one of them has more lines than a PDF takes: its mail goes out all the same."""
    try:
        return [_file(one, ending) for one in found for ending in FORMATS]
    except DomainError:
        return []


def _carried_bytes(content: bytes) -> int:
    """In base64, with its lines."""
    return -(-len(content) // 57) * 78


def _file(document: Document, ending: str) -> File:
    paper = PAPERS[ending]
    team = slugify(document.team or "")[:60] or ("team" if document.team else "no-team")
    name = f"{slugify(document.label)}-{document.month}-{team}.{ending}"
    return File(name, paper.render(document), paper.content_type)


def _together(found: Sequence[Document]) -> bytes:
    """One CSV: the header of the first stands for all, since every statement has the same columns."""
    papers = [PAPERS["csv"].render(one) for one in found]
    return b"".join([*papers[:1], *(paper.partition(b"\r\n")[2] for paper in papers[1:])])


def _attached(found: Sequence[Document], files: Sequence[File], kind: str) -> str:
    if not _is_explained(kind) or not found:
        return ""
    if not files:
        return "The statements are too large for a mail: their pages have the files."
    if len(files) == 1:
        if len(found) == 1:
            return "Attached: the statement as CSV. Its page has the other files."
        return "Attached: one CSV with all of them. Their pages have the files of each."
    return "Attached: " + ("the statement as PDF and CSV." if len(found) == 1 else "each statement as PDF and CSV.")


# --- the mail -------------------------------------------------------------------------------------------


def html_of(made: Made, *, embeds: bool = False) -> str:
    """The mail as HTML; `embeds`: with its pictures in it, for a browser."""
    page: str = render_to_string("mail/statement.html", {"letter": made.letter})
    if embeds:
        for name, picture in made.charts.items():
            page = page.replace(f'src="cid:{name}"', f'src="data:image/png;base64,{b64encode(picture).decode()}"')
    return page


def text_of(made: Made) -> str:
    text = render_to_string("mail/statement.txt", {"letter": made.letter})
    # Blocks that are empty leave lines behind.
    lines = [line.rstrip() for line in text.strip().split("\n")]
    kept = [line for number, line in enumerate(lines) if line or (number and lines[number - 1])]
    return "\n".join(kept) + "\n"


def mail_of(made: Made, address: str, attempt: Attempt) -> EmailMultiAlternatives:
    letter = made.letter
    headers = {
        "Message-ID": message_id(attempt),
        HEADER: token_of(attempt),
        "Auto-Submitted": "auto-generated",
    }
    if letter.note:
        headers[REPEAT_HEADER] = "1"
    if letter.unsubscribe_url:
        headers["List-Unsubscribe"] = f"<{letter.unsubscribe_url}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail = _Mail(letter.subject, text_of(made), None, [address], headers=headers)
    mail.attach_alternative(html_of(made), "text/html")
    mail.charts = made.charts
    for file in made.files:
        mail.attach(_attachment(file))
    return mail


class _Mail(EmailMultiAlternatives):
    """A mail whose HTML has pictures: they stand beside it, as part of it, and are no files to its reader."""

    charts: dict[str, bytes] = {}

    def message(self, **options: Any) -> Any:
        whole: Any = super().message(**options)
        if self.charts:
            body = next(part for part in whole.walk() if part.get_content_type() == "multipart/alternative")
            parts = body.get_payload()
            related = SafeMIMEMultipart(_subtype="related", encoding="utf-8")
            related.attach(parts[-1])
            for name, picture in self.charts.items():
                related.attach(_picture(name, picture))
            parts[-1] = related
        return whole


def _picture(name: str, content: bytes) -> MIMEImage:
    image = MIMEImage(content, "png")
    image.add_header("Content-ID", f"<{name}>")
    image.add_header("Content-Disposition", "inline", filename=f"{name}.png")
    return image


def _attachment(file: File) -> MIMEBase:
    """In base64 whatever it is: no mail server on the way may touch its lines."""
    part = MIMEBase(*file.content_type.partition(";")[0].split("/"))
    if part.get_content_maintype() == "text":
        part.set_param("charset", "utf-8")
    part.set_payload(file.content)
    encoders.encode_base64(part)
    part.add_header("Content-Disposition", "attachment", filename=file.name)
    return part
