"""What a statement mail says, as the templates of `templates/mail/statement.*` read it. Pure.

Names are what strangers wrote: each is defused, so that no mail client makes a link or a mention of it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import quote

from apps.alerts.messages import Place, clean, defused
from apps.alerts.models_statement_mail import Kind
from apps.core.money import sum_usd
from apps.reports import changes_explained as why
from apps.reports.changes_explained import Change, Driver
from apps.reports.document import Document
from apps.reports.papers.chart import chart_alt
from apps.reports.papers.figures import Money, added, cents, month_words, per_cent_of, sign

SHOWN_MAX = 5
LISTED_MAX = 50
WORKFLOWS_MAX = 5
DRIVERS_MAX = 6
# What is less would be shown as 0.00.
_CENT_SHOWN = Decimal("0.005")
_USED = ("usage", "unattributed", "late")
# By kind of driver: what it says of more, and of less.
_WORDS = {
    why.VOLUME: (
        "More tokens and calls, each at what it cost before",
        "Fewer tokens and calls, at what they cost before",
    ),
    why.PRICE: ("{name} cost more for the same use", "{name} cost less for the same use"),
    why.MIX: ("More of the work went to {name}", "Less of the work went to {name}"),
    why.NEW: ("New workflow {name}", "New workflow {name}"),
    why.GONE: ("Workflow {name} was not used any more", "Workflow {name} was not used any more"),
    why.LATE: ("Late usage of earlier months", "Less late usage of earlier months"),
    why.FEES: ("Throughput and seats", "Less for throughput and seats"),
    why.CREDITS: ("Fewer grants and credits", "More grants and credits"),
    why.SHARED: ("More shared cost", "Less shared cost"),
    why.ADJUSTMENTS: (
        "Adjustments, credit notes and settled disputes",
        "Adjustments, credit notes and settled disputes",
    ),
}


@dataclass(frozen=True, slots=True)
class Figure:
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """A name, an amount, and what stands small beside it."""

    name: str
    amount: str
    note: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One statement. `chart` is the source of its picture, "" without one; amounts of `changes` are USD."""

    team: str
    title: str
    status: str
    total: str
    unit: str
    figures: tuple[Figure, ...]
    chart: str
    chart_alt: str
    workflows: tuple[Row, ...]
    change: str
    changes: tuple[Row, ...]
    unpriced: str
    url: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail: its sections, then the statements that are only listed."""

    subject: str
    heading: str
    lead: str
    organization: str
    sections: tuple[Section, ...]
    listed: tuple[Row, ...]
    listed_more: int
    total: str
    attached: str
    note: str
    month_url: str
    why: str
    manage_url: str
    unsubscribe_url: str


@dataclass(frozen=True, slots=True)
class Told:
    """One statement and what is known beside it: why it changed, and what its last seven days cost."""

    document: Document
    change: Change | None = None
    week_usd: Decimal | None = None
    chart: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who the mail is to and why: `leads` are teams that they get as their lead; `attached` says what is attached."""

    kind: str
    month: str
    leads: Sequence[str] = ()
    is_repeat: bool = False
    attached: str = ""
    unsubscribe_url: str = ""


def letter_of(shown: Sequence[Told], listed: Sequence[Document], place: Place, envelope: Envelope) -> Letter:
    documents = [*(told.document for told in shown), *listed]
    month = month_words(envelope.month)
    return Letter(
        subject=_subject(documents, month, place, envelope),
        heading=_heading(month, envelope.kind, len(documents)),
        lead=_lead(documents, month, envelope.kind),
        organization=defused(place.organization),
        sections=tuple(_section(told, place) for told in shown),
        listed=tuple(_listed(document, place) for document in listed[:LISTED_MAX]),
        listed_more=max(0, len(listed) - LISTED_MAX),
        total=_sum(documents) if len(documents) > 1 else "",
        attached=envelope.attached,
        note=(
            "This mail was sent again because somebody asked for it. An earlier copy may have arrived."
            if envelope.is_repeat
            else ""
        ),
        month_url=place.url(f"statements?month={envelope.month}"),
        why=_why(place, envelope),
        # Closed to leads.
        manage_url="" if envelope.leads else place.url("statements/mail"),
        unsubscribe_url=envelope.unsubscribe_url,
    )


def _heading(month: str, kind: str, count: int) -> str:
    words = {Kind.WEEKLY: f"{month} so far", Kind.PREVIEW: f"{month} before it ends"}
    return words.get(Kind(kind), f"Statement{'s' if count != 1 else ''} of {month}")


def _subject(documents: Sequence[Document], month: str, place: Place, envelope: Envelope) -> str:
    whose = _whose(documents[0]) if len(documents) == 1 else f"{len(documents)} statements"
    total = _sum(documents) if documents else "no cost"
    words = {Kind.WEEKLY: " so far", Kind.PREVIEW: " before it ends"}.get(Kind(envelope.kind), "")
    test = "[test] " if envelope.kind == Kind.TEST else ""
    return clean(f"{test}{month}{words}, {whose}: {total} ({defused(place.organization)})", 200)


def _lead(documents: Sequence[Document], month: str, kind: str) -> str:
    if not documents:
        return f"There is nothing on a statement of {month} yet."
    if kind == Kind.WEEKLY:
        return "These are drafts: they follow what arrives and what is corrected."
    if kind == Kind.PREVIEW:
        return "This is how the month stands. Its statements are drafts until it is closed."
    return "" if all(one.status == "final" for one in documents) else "These are drafts: the month is not final yet."


def _why(place: Place, envelope: Envelope) -> str:
    who = defused(place.organization)
    if envelope.leads:
        reason = f"You get this as a lead of {_listing([defused(team) for team in envelope.leads])} at {who}."
    elif envelope.kind == Kind.TEST:
        return f"You asked for this test on the mail page of {who}."
    else:
        reason = f"Somebody who looks after the statements of {who} added your address."
    return f"{reason} Finance and admins of {who} can take it off the list."


def _listing(names: Sequence[str]) -> str:
    shown = list(names[:3]) + ([f"{len(names) - 3} more"] if len(names) > 3 else [])
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _whose(document: Document) -> str:
    return defused(document.team_name or document.team) if document.team is not None else "No team"


def _sum(documents: Sequence[Document]) -> str:
    """The documents are of one month, and so in one unit."""
    money = Money(documents[0])
    totals = [total for document in documents if (total := Money(document).total) is not None]
    return f"{money.text(added(totals))} {money.unit}" if totals else "no price known"


def statement_url(document: Document, place: Place) -> str:
    return place.url(f"statements/{quote(document.id, safe='')}")


def _listed(document: Document, place: Place) -> Row:
    money = Money(document)
    return Row(_whose(document), f"{money.text(money.total)} {money.unit}", url=statement_url(document, place))


# --- one statement --------------------------------------------------------------------------------------


def _section(told: Told, place: Place) -> Section:
    document = told.document
    money = Money(document)
    count = document.unpriced_events
    return Section(
        team=_whose(document),
        title=document.label if document.number is not None else "Draft",
        status="final" if document.status == "final" else "draft",
        total=money.text(money.total),
        unit=money.unit if money.total is not None else "",
        figures=tuple(_figures(told)),
        chart=told.chart,
        chart_alt=clean(chart_alt(document), 1000) if told.chart else "",
        workflows=tuple(_workflows(document, money)),
        change=_change(told.change),
        changes=tuple(_drivers(told.change)),
        unpriced=f"{count:,} call{'s' if count != 1 else ''} with no known price {'are' if count != 1 else 'is'}"
        " in none of these sums."
        if count
        else "",
        url=statement_url(document, place),
    )


def _figures(told: Told) -> list[Figure]:
    summary, found = told.document.summary, []
    if not Money(told.document).is_usd:
        found.append(Figure("In USD", f"{cents(told.document.total_usd)} USD"))
    if summary.budget_usd is not None:
        found.append(Figure("Budget", f"{cents(summary.budget_usd)} USD"))
        if summary.variance_usd is not None:
            over = Decimal(summary.variance_usd)
            word = "over" if over > 0 else "under"
            percent = f" ({per_cent_of(abs(Decimal(summary.variance_percent)))})" if summary.variance_percent else ""
            found.append(Figure("Against the budget", f"{cents(str(abs(over)))} USD {word}{percent}"))
    if told.week_usd is not None:
        found.append(Figure("Last seven days", f"{cents(str(told.week_usd))} USD"))
    if summary.forecast_usd is not None:
        found.append(Figure("Forecast of the month", f"{cents(summary.forecast_usd)} USD"))
    if summary.runs:
        each = f", {cents(summary.cost_per_run_usd)} USD each" if summary.cost_per_run_usd is not None else ""
        found.append(Figure("Runs", f"{summary.runs:,}{each}"))
    return found


def _workflows(document: Document, money: Money) -> list[Row]:
    """The ones that cost most, with their part of what calls cost."""
    sums: Mapping[str, list[Decimal]] = defaultdict(list)
    for line in document.lines:
        amount = money.of(line) if line.kind in _USED else None
        if amount is not None:
            sums[line.workflow or ""].append(amount)
    costs = {name: added(amounts) for name, amounts in sums.items()}
    whole = added(costs.values())
    largest = sorted(costs.items(), key=lambda item: (-item[1], item[0]))[:WORKFLOWS_MAX]
    return [
        Row(
            defused(name) if name else "No workflow",
            f"{money.text(cost)} {money.unit}",
            per_cent_of(100 * cost / whole) if whole > 0 and cost >= 0 else "",
        )
        for name, cost in largest
        if cost
    ]


def _change(change: Change | None) -> str:
    if change is None:
        return ""
    if change.is_first:
        return "There is no statement of the month before to compare it with."
    by = change.change_usd
    if abs(by) < _CENT_SHOWN and by:
        return f"Less than a cent from the month before ({cents(str(change.before_usd))} USD)."
    if not by:
        return "Exactly what it was the month before."
    part = f", {per_cent_of(abs(100 * by / change.before_usd))}" if change.before_usd > 0 else ""
    more = "more" if by > 0 else "less"
    return f"{cents(str(abs(by)))} USD {more} than the month before ({cents(str(change.before_usd))} USD){part}."


def _drivers(change: Change | None) -> list[Row]:
    """The largest, and the others in one row, so that what is shown adds up but for the cent that each row rounds."""
    drivers = change.drivers if change and not change.is_first else ()
    seen = [one for one in drivers if abs(one.change_usd) >= _CENT_SHOWN]
    shown = seen if len(seen) <= DRIVERS_MAX + 1 else seen[:DRIVERS_MAX]
    rest = drivers[len(shown) :]
    rows = [Row(_driver_words(one), _signed(one.change_usd)) for one in shown]
    if abs(left := sum_usd(one.change_usd for one in rest)) >= _CENT_SHOWN:
        rows.append(Row(f"{len(rest)} smaller reason{'s' if len(rest) != 1 else ''}", _signed(left)))
    return rows


def _driver_words(driver: Driver) -> str:
    if driver.kind in (why.NEW, why.GONE) and not driver.name:
        return "Calls of no workflow" + ("" if driver.kind == why.NEW else ", which are no more")
    more, less = _WORDS[driver.kind]
    return (more if driver.change_usd > 0 else less).format(name=defused(driver.name))


def _signed(amount: Decimal) -> str:
    return f"{sign(cents(str(amount)))} USD"
