"""Sample documents of statements: of one line or three hundred, with long and foreign names, in several currencies."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from apps.core.money import usd_text
from apps.reports.document import (
    ADJUSTMENT_KINDS,
    CREDIT_KINDS,
    FEE_KINDS,
    FORMAT,
    SHARED_KINDS,
    USAGE_KINDS,
    DisputeNote,
    Document,
    Line,
    MeterCost,
    Rate,
    Summary,
    usd,
)

# A currency's decimals, and how many units one USD is.
CURRENCIES = {"USD": (2, None), "EUR": (2, "0.921347"), "JPY": (0, "151.2375"), "KWD": (3, "0.307184")}
SCRIPTS = ("فريق البحث والتطوير", "研究開発チーム", "अनुसंधान टीम", "Ομάδα Έρευνας", "Отдел исследований", "연구 개발팀")
LONG_NAME = "x" * 256
HOSTILE_NAMES = (
    "#sys.inputs [*bold*] _it_ $x^2$ @ref <label> `raw` \\ // /* ~ -- \"'",
    "=cmd|'/C calc'!A0",
    "+1+1",
    "<script>alert(1)</script>&amp;",
    "\u202egnp.exe\u202c",
    "line one\nline two\ttab",
    "\u0085\u009f",
    "'); DROP TABLE teams; --",
)
TOKENS = {"input_tokens": 1_200_000, "cache_read_tokens": 640_000, "output_tokens": 310_500}


def make_line(kind: str = "usage", cost: str | None = "1234.567890123456", **fields: object) -> Line:
    """A line of a statement, priced by `priced`."""
    given = {"kind": kind, "team": "search", "cost_usd": usd_text(Decimal(cost)) if cost is not None else None}
    return msgspec.convert({**given, **fields}, Line)


def usage_line(number: int = 0, cost: str | None = "1234.567890123456", **fields: object) -> Line:
    given = {
        "project": f"project-{number // 12}",
        "workflow": f"workflow-{number}",
        "provider": "openai",
        "model": "gpt-5-mini",
        "events": 1000 + number,
        "meters": TOKENS,
    }
    return make_line("usage", cost, **{**given, **fields})


def make_document(
    lines: Sequence[Line] = (), *, currency: str = "USD", has_rate: bool = True, **fields: object
) -> Document:
    """A final statement of these lines in a currency; `has_rate` False is a draft of a month without one."""
    decimals, per_usd = CURRENCIES[currency]
    rate = Rate(per_usd, "European Central Bank, reference rate") if per_usd and has_rate else None
    is_priced = currency == "USD" or rate is not None
    lines = [_with_amount(line, decimals, per_usd) if is_priced else line for line in lines or [usage_line()]]
    amounts = [Decimal(line.amount) for line in lines if line.amount is not None]
    total = _exact(lines, None)
    document = Document(
        format=FORMAT,
        id="2026-10:search",
        number=42 if is_priced else None,
        organization="acme",
        organization_name="Acme GmbH",
        month="2026-10",
        timezone="Europe/Berlin",
        period_start=datetime(2026, 9, 30, 22, tzinfo=UTC),
        period_end=datetime(2026, 10, 31, 23, tzinfo=UTC),
        team="search",
        team_name="Search",
        cost_centre="CC-4711",
        status="final" if is_priced else "open",
        currency=currency,
        decimals=decimals,
        rate=rate,
        as_of=datetime(2026, 11, 4, 6, 30, tzinfo=UTC),
        events=sum(line.events for line in lines),
        unpriced_events=sum(line.unpriced_events for line in lines),
        usage_usd=_exact(lines, USAGE_KINDS),
        fees_usd=_exact(lines, FEE_KINDS),
        credits_usd=_exact(lines, CREDIT_KINDS),
        shared_usd=_exact(lines, SHARED_KINDS),
        adjustments_usd=_exact(lines, ADJUSTMENT_KINDS),
        total_usd=total,
        total=format(sum(amounts, Decimal(0)), "f") if amounts else None,
        summary=_summary(total),
        lines=lines,
        by_meter=_by_meter(lines),
        disputes=[],
    )
    return msgspec.structs.replace(document, **fields)


def full_document(*, lines: int = 8, currency: str = "USD", **fields: object) -> Document:
    """A statement with `lines` lines of usage, and one of every other kind."""
    listed = [usage_line(number, f"{1900 - 6 * number}.{number:04}56789012") for number in range(lines)]
    return make_document([*listed, *EXTRAS], currency=currency, **{"disputes": DISPUTES, **fields})


EXTRAS = (
    make_line("unpriced", None, project="project-0", workflow="workflow-1", provider="acme-llm", model="house-7b",
              events=120, unpriced_events=120, meters={"input_tokens": 90_000, "output_tokens": 12_345}),
    make_line("late", "12.340000000001", project="project-0", workflow="workflow-2", provider="anthropic",
              model="claude-sonnet-4-5", events=40, of_month="2026-09", meters={"input_tokens": 40_000}),
    make_line("throughput", "6600", name="PTU 2026", driver="tokens 330,000,000 of 1,000,000,000", share="0.33",
              source="contract:7"),
    make_line("throughput_idle", "2828.571428571429", name="PTU 2026", driver="tokens 330,000,000 of 420,000,000",
              share="0.785714285714", source="contract:7"),
    make_line("seats", "1200", name="Copilot seats", driver="active days", source="contract:8"),
    make_line("grant", "-150", name="Research grant", source="contract:9"),
    make_line("credit", "-2330.944444444444", name="Prepaid credit", source="contract:10"),
    make_line("shared", "3360", name="Gateway licence", driver="tokens 1,200,000 of 4,000,000", share="0.3",
              source="pool:3"),
    make_line("adjustment", "-45.5", name="Load test of the platform team", of_month="2026-09",
              source="adjustment:12"),
    make_line("credit_note", "-99.99", name="Wrong price of September", of_month="2026-09", refers_to="CS-000031",
              source="adjustment:13"),
    make_line("dispute", "-18.25", name="Calls of team Growth", source="adjustment:14"),
    make_line("true_up", "3.210000000001", name="OpenAI bill of October", source="adjustment:15"),
    make_line("exchange", "0.42", name="Bill in EUR", source="adjustment:16"),
    make_line("tax", "19.876543210987", name="VAT on the bill of OpenAI", source="adjustment:17"),
)  # fmt: skip

DISPUTES = [
    DisputeNote(3, "workflow-1, gpt-5-mini", "18.250000000000", "These calls are of team Growth.", "settled",
                "Moved to Growth from 12 October 2026 on."),
    DisputeNote(4, "Gateway licence", "3360.000000000000", "We left the gateway in June.", "rejected",
                "Its log has 1,200,000 tokens of yours in October."),
]  # fmt: skip


def long_document(currency: str = "USD") -> Document:
    """Names of 256 characters without a space, wherever a name can stand."""
    names = {"project": LONG_NAME, "workflow": LONG_NAME, "provider": "y" * 256, "model": "W" * 256}
    lines = [usage_line(1, **names), usage_line(2, **{**names, "workflow": "長" * 256})]
    lines += [msgspec.structs.replace(line, name="z" * 256, driver="d" * 256) for line in EXTRAS]
    lines += [make_line("late", "1", of_month="2026-09", **names)]
    note = DisputeNote(1, LONG_NAME, "1.000000000000", "r" * 500, "open")
    return make_document(
        lines,
        currency=currency,
        organization_name="O" * 256,
        team_name="T" * 256,
        cost_centre="C" * 64,
        disputes=[note],
    )


def named_document(names: Sequence[str], currency: str = "USD") -> Document:
    """A statement where every name, of a project and of everything else, is each of these."""
    lines = [
        usage_line(place, f"{900 - place}.5", project=name, workflow=f"{name} 1", model=f"{name} 2", meters=TOKENS)
        for place, name in enumerate(names)
    ]
    lines += [make_line("shared", "10", name=name, driver=name, share="0.5", source="pool:3") for name in names]
    lines += [make_line("adjustment", "-1", name=name, source="adjustment:1") for name in names]
    return make_document(lines, currency=currency, organization_name=names[0], team_name=names[-1])


def _with_amount(line: Line, decimals: int, per_usd: str | None) -> Line:
    if line.cost_usd is None:
        return line
    amount = Decimal(line.cost_usd) * Decimal(per_usd or 1)
    rounded = amount.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)
    return msgspec.structs.replace(line, amount=format(rounded, "f"))


def _exact(lines: Sequence[Line], kinds: Sequence[str] | None) -> str:
    chosen = (usd(line.cost_usd) for line in lines if kinds is None or line.kind in kinds)
    return usd_text(sum(chosen, Decimal(0))) or ""


def _summary(total: str) -> Summary:
    budget, spent = Decimal(20_000), Decimal(total)
    return Summary(
        budget_usd=usd_text(budget),
        variance_usd=usd_text(spent - budget),
        variance_percent=format((100 * (spent - budget) / budget).quantize(Decimal("0.01")), "f"),
        year_to_date_usd=usd_text(spent * 9),
        runs=8123,
        cost_per_run_usd="0.012345678901",
        successful_runs=7950,
        cost_per_successful_run_usd="0.012614330000",
    )


def _by_meter(lines: Sequence[Line]) -> list[MeterCost]:
    """The cost of usage by model: all of it on the first meter, which is enough for a paper."""
    models = sorted({(line.provider, line.model) for line in lines if line.kind == "usage"})
    rows: list[MeterCost] = []
    for provider, model in models:
        ours = [line for line in lines if (line.kind, line.provider, line.model) == ("usage", provider, model)]
        for place, meter in enumerate(TOKENS):
            quantity = sum(line.meters.get(meter, 0) for line in ours)
            cost = _exact(ours, None) if place == 0 else "0.000000000000"
            rows.append(MeterCost(provider, model, meter, quantity, cost, "0.250000" if place == 0 else None))
    return rows
