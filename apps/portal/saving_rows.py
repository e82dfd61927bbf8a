"""Recommendations and adoptions as pages show them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apps.core.tenancy import tenant
from apps.insights import savings
from apps.insights.models_savings import Adoption, Recommendation
from apps.insights.recommendation_words import LABELS, WHY, words_of
from apps.insights.recommendations import Label, Portfolio
from apps.insights.recommending import usd_of
from apps.insights.savings import Part
from apps.portal import formats
from apps.portal.access import Visit
from apps.portal.audit_words import who
from apps.portal.pages_savings import LedgerRow, SavingRow, Together, WorkflowSavings
from apps.portal.workflow_access import WITHHELD, Sight
from apps.teams.models import Workflow

PART_ROWS = 5
# Figures of the evidence in the reader's words; what is not here is not shown.
EVIDENCE: dict[str, tuple[str, str]] = {
    "days": ("Days looked at", "count"),
    "model": ("Model", "text"),
    "provider": ("Provider", "text"),
    "task_type": ("Task type", "text"),
    "to_model": ("Model instead", "text"),
    "to_provider": ("Provider instead", "text"),
    "calls": ("Calls", "count"),
    "output_p90": ("Output of nine calls in ten, tokens, at most", "count"),
    "price_ratio": ("Price of the same tokens there", "share"),
    "escalation_p50": ("Goes up again, assumed", "share"),
    "escalated": ("Went up again", "count"),
    "escalation_rate": ("Goes up again", "share"),
    "break_even": ("Break-even", "share"),
    "usd_per_call": ("A first try, USD", "usd"),
    "usd_per_escalated_call": ("A call that went up, USD", "usd"),
    "policy_now": ("Cached now", "text"),
    "policy": ("Cheapest", "text"),
    "hit_rate": ("Read from the cache now", "share"),
    "attainable": ("Could be read", "share"),
    "reusable_5m": ("Repeats within 5 minutes", "share"),
    "reusable_1h": ("Repeats within an hour", "share"),
    "batch_factor": ("Price in a batch", "share"),
    "batchable_p50": ("May wait, assumed", "share"),
    "bound": ("Bound", "count"),
    "runs": ("Runs", "count"),
    "runs_seen": ("Runs looked at", "count"),
    "runs_cut": ("Runs beyond the bound", "count"),
    "long_runs": ("Long runs", "count"),
    "calls_mean": ("Calls a run, mean", "number"),
    "calls_max": ("Calls a run, most", "count"),
    "tail_cost_share": ("Cost of the runs beyond", "share"),
    "beyond_share": ("Spent after the bound", "share"),
    "outcomes_known": ("Runs whose outcome is known", "count"),
    "marginal_success": ("Successes after the bound", "share"),
    "failed_runs": ("Failed runs", "count"),
    "dead_share": ("Cost of failed runs", "share"),
    "avoidable_p50": ("Avoidable, assumed", "share"),
    "growth_tokens": ("Context grows a call, tokens", "count"),
    "cost_ratio": ("Cost of long runs with summaries", "share"),
    "tokens": ("Tokens a call", "count"),
    "peers_p75": ("Third quartile of other workflows", "count"),
    "shed_share": ("Of all prompt tokens", "share"),
    "attempts": ("Attempts after the third", "count"),
    "late_usd": ("Their cost, USD", "usd"),
    "repeats": ("Repeats within 24 hours", "count"),
    "repeats_usd": ("Their cost, USD", "usd"),
    "cut": ("Answers cut at their limit", "count"),
    "cut_usd": ("Their cost, USD", "usd"),
    "unpriced_calls": ("Calls without a price, not counted", "count"),
}


def row_of(visit: Visit, row: Recommendation) -> SavingRow:
    return SavingRow(
        title=words_of(row.kind, row.evidence).title,
        url=visit.url_of("recommendation", str(row.pk)),
        workflow=row.workflow,
        workflow_url=visit.url_below("workflows", row.workflow),
        team=row.team,
        headline_usd=row.headline_usd,
        low_usd=row.saving_low_usd,
        likely_usd=row.saving_likely_usd,
        high_usd=row.saving_high_usd,
        scope_usd=row.scope_usd,
        grade=row.grade,
        label=LABELS[Label(row.label)],
        is_unverified=row.label == Label.UNVERIFIED,
        state=row.state,
        is_gone=row.vanished_at is not None,
        decided_at=row.decided_at,
        decided_by=who(row.decided_by),
        reason=row.reason,
    )


def ledger_row(visit: Visit, row: Adoption) -> LedgerRow:
    return LedgerRow(
        title=row.kind.replace("_", " "),
        url=visit.url_of("recommendation", str(row.recommendation_id)),
        workflow=row.workflow,
        team=row.team,
        adopted_at=row.adopted_at,
        low_usd=row.predicted_low_usd,
        likely_usd=row.predicted_likely_usd,
        high_usd=row.predicted_high_usd,
        realized_usd=row.realized_usd,
        realized_low_usd=row.realized_low_usd,
        realized_high_usd=row.realized_high_usd,
        is_inside=savings.is_inside(row),
        measured_days=row.measured_days,
        unit=row.unit,
        why=WHY.get(row.why, ""),
        note=_beside(savings.measurement_of(row)),
    )


def _beside(measured: savings.Measurement) -> str:
    """What keeps a measured saving from being compared with its prediction as it stands."""
    others = measured.shared_with
    notes = (
        f"{measured.volume:.1f} times the work of before" if round(measured.volume, 1) != 1 else "",
        f"shared with {others} other change{'s' if others > 1 else ''} of these days" if others else "",
    )
    return ", ".join(note for note in notes if note)


def together_of(found: Portfolio) -> Together:
    low, likely, high, total = map(usd_of, (found.saving.low, found.saving.likely, found.saving.high, found.sum))
    return Together(low, likely, high, total, found.counted, found.left_out)


def evidence_of(evidence: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(label, value) of what is known, in the order of `EVIDENCE`."""
    return tuple(
        (label, _shown(evidence[name], form))
        for name, (label, form) in EVIDENCE.items()
        if evidence.get(name) not in (None, "")
    )


def _shown(value: Any, form: str) -> str:
    if form == "text":
        return str(value)
    number = Decimal(repr(float(value)))
    if form == "share":
        return formats.per_cent(number)
    if form == "usd":
        return formats.money(number)
    return formats.count(round(number)) if form == "count" else f"{number:.1f}"


def part_of(visit: Visit) -> Part:
    """All of the organization; of a lead the teams that they lead, or the one that is asked for."""
    if visit.teams is None:
        return Part()
    asked = Part([visit.team] if "team" in visit.request.GET and visit.team else visit.teams)
    with tenant(visit.org):
        return savings.own_part(visit.org, visit.calendar, asked, visit.at)


def workflow_part(visit: Visit, workflow: Workflow, sight: Sight) -> WorkflowSavings | None:
    """What the page of a workflow says of its recommendations; None where there are none."""
    with tenant(visit.org):
        part = part_of(visit)
        rows = savings.find_recommendations(
            visit.org, part=part, workflow=workflow.slug, state="open", vanished=False, limit=PART_ROWS + 1
        )
    url = visit.url("savings", {"workflow": workflow.slug, **sight.asked})
    if workflow.slug in part.without:
        return WorkflowSavings((), 0, url, WITHHELD)
    if not rows:
        return None
    shown = tuple(row_of(visit, row) for row in rows[:PART_ROWS])
    return WorkflowSavings(shown, len(rows) - len(shown), url)
