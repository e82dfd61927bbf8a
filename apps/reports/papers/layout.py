"""What stands where on a statement's PDF, as text: the template sets it and knows nothing else. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import groupby

import msgspec

from apps.reports.document import CREDIT_KINDS, FEE_KINDS, SHARED_KINDS, Document, Line
from apps.reports.papers import figures
from apps.reports.papers.chart import Chart, chart_of
from apps.reports.papers.figures import KIND_LABELS, NONE, ONE, Money, grouped, printable

USED = ("usage", "unattributed")
LATER = ("late", "adjustment", "credit_note", "dispute", "true_up", "exchange", "tax")
_ROUNDED = "Counts from ten billion on are rounded here; by model and meter they stand in full."


class Cell(msgspec.Struct, frozen=True):
    """A text, what stands small beside it, and what stands small below."""

    text: str
    notes: Sequence[str] = ()
    aside: str = ""


class Column(msgspec.Struct, frozen=True):
    """`width` is a share of what the others leave; 0 is as wide as its text, and to the right."""

    title: str
    width: int = 0


class Group(msgspec.Struct, frozen=True):
    """Rows below a name, with their sum at the right; "" is no name."""

    name: str
    amount: str
    rows: Sequence[Sequence[Cell]]


class Table(msgspec.Struct, frozen=True):
    """`total` is the last row: its label, then the sum of the last column; empty without one."""

    title: str
    note: str
    columns: Sequence[Column]
    groups: Sequence[Group]
    total: Sequence[str] = ()


class Figure(msgspec.Struct, frozen=True):
    label: str
    text: str
    unit: str
    notes: Sequence[str] = ()


class Paper(msgspec.Struct, frozen=True):
    """A statement, ready to be set. `facts` are of the letterhead: (label, text)."""

    title: str
    organization: str
    team: str
    month: str
    label: str
    footer: str
    is_draft: bool
    facts: Sequence[tuple[str, str]]
    total: Figure
    figures: Sequence[Figure]
    figures_note: str
    build_up: Table
    chart: Chart | None
    tables: Sequence[Table]
    attachment: str


def paper_of(document: Document) -> Paper:
    money, month = Money(document), figures.month_words(document.month)
    tables = (
        _usage(money), _fees(money), _shared(money), _later(money), _meters(document), _unpriced(document),
        _disputes(document),
    )  # fmt: skip
    return Paper(
        title=f"Chargeback statement {_label(document)}, {month}",
        organization=printable(document.organization_name),
        team=printable(figures.team_words(document)),
        month=month,
        label=_label(document),
        footer=", ".join((_label(document), month, figures.shortened(figures.team_words(document), 60))),
        is_draft=document.number is None,
        facts=facts_of(money),
        total=Figure("Total", money.text(money.total), money.unit, _usd_note(money, document.total_usd)),
        figures=_figures(money),
        figures_note=_figures_note(money),
        build_up=_build_up(money),
        chart=chart_of(document),
        tables=[table for table in tables if table.groups],
        attachment=f"{_label(document).lower()}-{document.month}.json",
    )


def _label(document: Document) -> str:
    """The number; a draft has none, and its id may be as long as a team's slug."""
    return "Draft" if document.number is None else document.label


# --- the first page ----------------------------------------------------------------------------------


def facts_of(money: Money) -> list[tuple[str, str]]:
    document = money.document
    found = [
        ("Team", figures.team_words(document)),
        ("Cost centre", document.cost_centre or NONE),
        ("Period", figures.period_words(document)),
        ("Status", document.status.replace("_", " ").capitalize()),
        ("As of", figures.instant_words(document.as_of)),
        ("Currency", _currency_words(money)),
        ("SHA-256", document.sha256),
    ]
    return [(label, printable(text)) for label, text in found]


def _currency_words(money: Money) -> str:
    document = money.document
    if not money.has_rate:
        return f"USD: {document.currency} has no rate for {figures.month_words(document.month)} yet"
    if document.rate is None or document.currency == "USD":
        return document.currency
    return f"{document.currency}, 1 USD = {document.rate.per_usd} {document.currency} ({document.rate.source})"


def _figures(money: Money) -> list[Figure]:
    """The figures that are known."""
    summary = money.document.summary
    found = []
    if summary.budget_usd is not None:
        found += [_summed(money, "Budget", summary.budget_usd), *_variance(money)]
    if summary.forecast_usd is not None:
        found.append(_summed(money, "Forecast of the month", summary.forecast_usd))
    if summary.year_to_date_usd is not None:
        found.append(Figure("Year to date", figures.cents(summary.year_to_date_usd), "USD"))
    if summary.runs:
        found += [
            Figure("Runs", grouped(summary.runs), "", _each(money, summary.cost_per_run_usd)),
            Figure(
                "Successful runs",
                grouped(summary.successful_runs),
                "",
                _each(money, summary.cost_per_successful_run_usd),
            ),
        ]
    return found


def _variance(money: Money) -> list[Figure]:
    """Total less budget as they stand on the paper, so that they add up."""
    budget, percent = money.converted(money.document.summary.budget_usd), money.document.summary.variance_percent
    if budget is None or money.total is None:
        return []
    over = money.total - budget
    notes = [] if percent is None else [f"{figures.sign(figures.per_cent_of(Decimal(percent)))} of budget"]
    return [Figure("Over budget" if over > 0 else "Variance", figures.sign(money.text(over)), money.unit, notes)]


def _summed(money: Money, label: str, usd: str | None) -> Figure:
    return Figure(label, money.text(money.converted(usd)), money.unit, _usd_note(money, usd))


def _each(money: Money, usd: str | None) -> list[str]:
    return [] if usd is None else [f"{money.each(usd)} {money.unit} each"]


def _figures_note(money: Money) -> str:
    if money.is_usd:
        return ""
    return "Budget and forecast are at the month's rate; months have rates of their own, so the year is in USD."


def _usd_note(money: Money, usd: str | None) -> list[str]:
    return [] if money.is_usd or usd is None else [f"{figures.exact_usd(usd)} USD"]


def _build_up(money: Money) -> Table:
    rows = [[Cell(KIND_LABELS[kind]), Cell(money.text(amount))] for kind, amount in figures.build_up(money)]
    return Table(
        title="Build-up",
        note="",
        columns=[Column("Build-up", 100), Column(money.unit)],
        groups=[Group("", "", rows or [[Cell("No cost"), Cell("0")]])],
        total=["Total", money.text(money.total)],
    )


# --- the lines ---------------------------------------------------------------------------------------


def _usage(money: Money) -> Table:
    lines = figures.kinds_among(money.document.lines, USED)
    return Table(
        title="Usage by project and workflow",
        note=_ROUNDED if any(map(_is_rounded, lines)) else "",
        columns=[
            Column("Workflow", 110), Column("Model", 100), Column("Calls"), Column("Tokens in"), Column("Cached"),
            Column("Tokens out"), Column(money.unit),
        ],
        groups=[
            Group(
                printable(project or "No project"),
                money.text(money.sum_of(rows)),
                [[Cell(printable(row.workflow or "No workflow")), *_calls(row), _amount(money, row)] for row in rows],
            )
            for project, rows in _by_project(lines)
        ],
        total=["Usage", money.text(money.sum_of(lines))],
    )  # fmt: skip


def _is_rounded(line: Line) -> bool:
    return max(line.events, *figures.tokens(line)) >= figures.EXACT_BELOW


def _by_project(lines: Iterable[Line]) -> list[tuple[str | None, list[Line]]]:
    """Projects in the order in which they are first met."""
    found: dict[str | None, list[Line]] = {}
    for line in lines:
        found.setdefault(line.project, []).append(line)
    return list(found.items())


def _calls(line: Line) -> list[Cell]:
    model = Cell(printable(line.model or NONE), figures.others(line), printable(line.provider))
    unpriced = [f"{figures.short(line.unpriced_events)} unpriced"] if line.unpriced_events and line.cost_usd else []
    counts = [Cell(figures.short(quantity)) for quantity in figures.tokens(line)]
    return [model, Cell(figures.short(line.events), unpriced), *counts]


def _amount(money: Money, line: Line) -> Cell:
    return Cell(money.text(money.of(line)), _usd_note(money, line.cost_usd))


def _fees(money: Money) -> Table:
    lines = figures.kinds_among(money.document.lines, (*FEE_KINDS, *CREDIT_KINDS))
    return _parts(money, "Fees, grants and credits", "Contract", lines)


def _shared(money: Money) -> Table:
    lines = figures.kinds_among(money.document.lines, SHARED_KINDS)
    return _parts(money, "Shared cost", "Pool", lines)


def _parts(money: Money, title: str, of: str, lines: Sequence[Line]) -> Table:
    rows = [
        [
            Cell(printable(line.name or NONE), [] if line.kind == "shared" else [ONE[line.kind]]),
            Cell(printable(line.driver or NONE)),
            Cell(figures.per_cent(line.share) or NONE),
            _amount(money, line),
        ]
        for line in lines
    ]
    columns = [Column(of, 100), Column("Driver", 100), Column("Share"), Column(money.unit)]
    return Table(title, "", columns, _one(rows), [title, money.text(money.sum_of(lines))])


def _later(money: Money) -> Table:
    lines = figures.kinds_among(money.document.lines, LATER)
    rows = [
        [
            Cell(ONE[line.kind]),
            Cell(figures.month_words(line.of_month) if line.of_month else NONE),
            _about(line),
            _amount(money, line),
        ]
        for line in lines
    ]
    return Table(
        title="Late usage and adjustments",
        note="",
        columns=[Column("Kind", 70), Column("Of month", 55), Column("About", 120), Column(money.unit)],
        groups=_one(rows),
        total=["Late usage and adjustments", money.text(money.sum_of(lines))],
    )


def _about(line: Line) -> Cell:
    if line.kind != "late":
        return Cell(printable(line.name or NONE), [f"corrects {printable(line.refers_to)}"] if line.refers_to else [])
    place = printable(line.workflow or "No workflow")
    model = printable(line.model or NONE)
    return Cell(place, [printable(line.project or "No project"), f"{model}, {grouped(line.events)} calls"])


def _meters(document: Document) -> Table:
    groups = [
        Group(
            printable(model),
            "",
            [
                [
                    Cell(figures.meter_words(row.meter)),
                    Cell(grouped(row.quantity)),
                    Cell(figures.exact_usd(row.list_usd_per_million) if row.list_usd_per_million else NONE),
                    Cell(figures.micros(row.cost_usd)),
                ]
                for row in rows
            ],
        )
        for model, rows in ((f"{key[0]} {key[1]}", list(rows)) for key, rows in groupby(document.by_meter, _model))
    ]
    total = figures.micros(figures.exact_sum(row.cost_usd for row in document.by_meter))
    return Table(
        title="Usage by model and meter",
        note="Costs in USD to six decimals. The price is the list price, where one held all month.",
        columns=[Column("Meter", 100), Column("Quantity"), Column("USD per million"), Column("USD")],
        groups=groups,
        total=["Usage", total],
    )


def _model(row: object) -> tuple[str, str]:
    return getattr(row, "provider", ""), getattr(row, "model", "")


def _unpriced(document: Document) -> Table:
    rows = [
        [Cell(printable(line.workflow or "No workflow"), [printable(line.project or "No project")]), *_calls(line)]
        for line in document.lines
        if line.kind == "unpriced"
    ]
    return Table(
        title="Unpriced usage",
        note="No price is known for these calls: they are in no sum. What gets a price after the close is late usage.",
        columns=[
            Column("Workflow", 110), Column("Model", 100), Column("Calls"), Column("Tokens in"), Column("Cached"),
            Column("Tokens out"),
        ],
        groups=_one(rows),
    )  # fmt: skip


def _disputes(document: Document) -> Table:
    rows = [
        [
            Cell(grouped(note.id)),
            Cell(printable(note.about)),
            Cell(printable(note.reason), [f"Answer: {printable(note.answer)}"] if note.answer else []),
            Cell(note.state.capitalize()),
            Cell(figures.cents(note.amount_usd)),
        ]
        for note in document.disputes
    ]
    columns = [Column("No.", 16), Column("About", 80), Column("Why", 120), Column("State", 35), Column("USD")]
    return Table("Disputes", "", columns, _one(rows))


def _one(rows: Sequence[Sequence[Cell]]) -> list[Group]:
    return [Group("", "", rows)] if rows else []
