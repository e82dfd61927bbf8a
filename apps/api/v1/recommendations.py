"""Recommendations: what workflows could save, what people said of it, and what came of what was done."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Meta
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.months import RowId
from apps.api.v1.names import validated
from apps.api.views import Exact, Quoted, ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.insights import recommending, savings
from apps.insights.models_savings import Adoption, Recommendation
from apps.insights.recommendation_words import words_of
from apps.insights.recommendations import Kind, Label, Portfolio
from apps.insights.savings import PAGE_MAX, Part, is_inside, measurement_of
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal, calendar

State = Recommendation.State
FILTERS = {"team", "project", "workflow"}
CHOICES = {"state": State.values, "kind": [kind.value for kind in Kind]}
LISTED = [
    OpenApiParameter("state", str, enum=CHOICES["state"]),
    OpenApiParameter("kind", str, enum=CHOICES["kind"]),
    OpenApiParameter("team", str, description="Only those of the team's workflows."),
    OpenApiParameter("project", str, description="Only those of the project's workflows."),
    OpenApiParameter("workflow", str, description="Only those of this workflow."),
    OpenApiParameter("vanished", str, enum=["no", "yes", "all"], description="Not found any more; default no."),
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 100."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]
LEDGER = [
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 100."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]
_Amount = Annotated[str, Meta(pattern=r"^-?[0-9]{1,26}(\.[0-9]{1,12})?$")]
_Position = tuple[_Amount, RowId]
_LedgerPosition = tuple[Annotated[datetime, Meta(tz=True)], RowId]


class TrialInput(Exact):
    control_runs = serializers.IntegerField(min_value=1, max_value=10**9)
    control_successes = serializers.IntegerField(min_value=0, max_value=10**9)
    trial_runs = serializers.IntegerField(min_value=1, max_value=10**9)
    trial_successes = serializers.IntegerField(min_value=0, max_value=10**9)


class AcceptInput(Exact):
    hours = Quoted(max_length=20, required=False, allow_null=True, default=None, help_text="What doing it takes.")
    hourly_rate_usd = Quoted(max_length=20, required=False, allow_null=True, default=None)
    trial = TrialInput(required=False, allow_null=True, default=None, help_text="A trial that shows it no worse.")


class DismissInput(Exact):
    reason = serializers.CharField(max_length=500)


class DoneInput(Exact):
    adopted_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Since when it takes effect; default: now."
    )


class ReopenInput(Exact):
    pass


class SavingOutput(serializers.Serializer[Any]):
    p10 = serializers.CharField()
    p50 = serializers.CharField()
    p90 = serializers.CharField()


class RecommendationOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=CHOICES["kind"])
    title = serializers.CharField()
    workflow = serializers.CharField()
    project = serializers.CharField()
    team = serializers.CharField(allow_null=True)
    segment = serializers.CharField()
    state = serializers.ChoiceField(choices=CHOICES["state"])
    headline_usd = serializers.CharField(help_text="P50 where quality is verified or cannot change, else P10; a month.")
    saving_usd = SavingOutput()
    scope_usd = serializers.CharField(help_text="What the workflow costs a month now.")
    grade = serializers.ChoiceField(choices=["A", "B", "C"])
    label = serializers.ChoiceField(  # type: ignore[assignment]  # DRF's own name
        choices=[label.value for label in Label]
    )
    runs_needed = serializers.IntegerField(allow_null=True, help_text="In each arm of a trial, until it is verified.")
    do = serializers.CharField()
    reckoned = serializers.CharField()
    verify = serializers.CharField()
    evidence = serializers.DictField()
    runs = serializers.ListField(child=serializers.CharField())
    first_found_at = serializers.DateTimeField()
    found_at = serializers.DateTimeField()
    vanished_at = serializers.DateTimeField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    decided_by = serializers.CharField()
    reason = serializers.CharField()
    trial = serializers.DictField(allow_null=True)
    implementation_usd = serializers.CharField(allow_null=True)


class AdoptionOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    recommendation = serializers.IntegerField()
    kind = serializers.CharField()
    workflow = serializers.CharField()
    team = serializers.CharField(allow_null=True)
    adopted_at = serializers.DateTimeField()
    recorded_by = serializers.CharField()
    predicted_usd = SavingOutput()
    implementation_usd = serializers.CharField(allow_null=True)
    measured_days = serializers.ChoiceField(choices=[0, 14, 30])
    unit = serializers.CharField()
    realized_usd = SavingOutput(allow_null=True)
    volume = serializers.CharField(allow_null=True, help_text="How many times the work of before there was since.")
    shared_with = serializers.IntegerField(help_text="Other changes to the workflow of the same days.")
    inside = serializers.BooleanField(
        allow_null=True, help_text="Whether it lies in what was predicted, at the volume that there was."
    )
    why_not = serializers.CharField(help_text="Why nothing can be told.")


class JointOutput(serializers.Serializer[Any]):
    saving_usd = SavingOutput()
    sum_usd = serializers.CharField(help_text="Of the P50s, which count some dollars several times.")
    counted = serializers.IntegerField()
    left_out = serializers.IntegerField(help_text="Excluded by a larger one of the same calls.")


class LedgerTotalsOutput(serializers.Serializer[Any]):
    adopted = serializers.IntegerField()
    measured = serializers.IntegerField()
    untold = serializers.IntegerField()
    predicted_usd = serializers.CharField()
    at_volume_usd = serializers.CharField(help_text="What was predicted, at the volume that there was since.")
    realized_usd = serializers.CharField()
    ratio = serializers.CharField(allow_null=True, help_text="Realized over predicted at that volume.")
    coverage = serializers.CharField(allow_null=True, help_text="The share that came to lie in P10 to P90.")


class SavingsOutput(serializers.Serializer[Any]):
    as_of = serializers.DateTimeField(allow_null=True)
    days = serializers.IntegerField()
    open = JointOutput()
    accepted = JointOutput()
    totals = LedgerTotalsOutput()
    data = AdoptionOutput(many=True)  # type: ignore[assignment]  # DRF's own name
    next = serializers.CharField(allow_null=True)


class RecommendationsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="recommendations_list", parameters=LISTED, responses=listing(RecommendationOutput))
    def get(self, request: Request) -> Response:
        query = request.query_params
        asked = parameters.filters(query, FILTERS, {"state", "kind", "vanished", "limit", "cursor"})
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        part = part_of(self.principal, {name: asked[name] for name in asked if name != "workflow"})
        after = position_of(query["cursor"], _Position) if query.get("cursor") else None
        with tenant(self.organization):
            rows = savings.find_recommendations(
                self.organization,
                part=part,
                state=_choice(query, "state"),
                kind=_choice(query, "kind"),
                workflow=asked.get("workflow"),
                vanished=_VANISHED[_choice(query, "vanished", list(_VANISHED)) or "no"],
                after=None if after is None else (Decimal(after[0]), after[1]),
                limit=limit + 1,
            )
        last = rows[limit - 1] if len(rows) > limit else None
        following = cursor_of((usd_text(last.headline_usd), last.pk)) if last else None
        return Response({"data": [recommendation_json(row) for row in rows[:limit]], "next": following})


_VANISHED = {"no": False, "yes": True, "all": None}


class RecommendationView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="recommendations_get", responses=RecommendationOutput)
    def get(self, request: Request, recommendation_id: int) -> Response:
        with tenant(self.organization):
            row = savings.recommendation_of(self.organization, recommendation_id, part_of(self.principal))
        return Response(recommendation_json(row))


class _Answer(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    def within(self, recommendation_id: int) -> dict[str, Any]:
        """What an answer is asked with, once the key may see what it answers. Raises `NotFound`."""
        with tenant(self.organization):
            savings.recommendation_of(self.organization, recommendation_id, part_of(self.principal))
        return {"org": self.organization, "recommendation_id": recommendation_id, "actor": self.principal}


class RecommendationAcceptView(_Answer):
    @extend_schema(operation_id="recommendations_accept", request=AcceptInput, responses=RecommendationOutput)
    def post(self, request: Request, recommendation_id: int) -> Response:
        given, asked = validated(AcceptInput, request), self.within(recommendation_id)
        row = recommending.accept(
            **asked,
            hours=_said_decimal(given["hours"], "hours"),
            hourly_usd=_said_decimal(given["hourly_rate_usd"], "hourly_rate_usd"),
            trial=given["trial"],
        )
        return Response(recommendation_json(row))


class RecommendationDismissView(_Answer):
    @extend_schema(operation_id="recommendations_dismiss", request=DismissInput, responses=RecommendationOutput)
    def post(self, request: Request, recommendation_id: int) -> Response:
        given, asked = validated(DismissInput, request), self.within(recommendation_id)
        return Response(recommendation_json(recommending.dismiss(**asked, reason=given["reason"])))


class RecommendationDoneView(_Answer):
    @extend_schema(operation_id="recommendations_done", request=DoneInput, responses=RecommendationOutput)
    def post(self, request: Request, recommendation_id: int) -> Response:
        given, asked = validated(DoneInput, request), self.within(recommendation_id)
        return Response(recommendation_json(recommending.mark_done(**asked, adopted_at=given["adopted_at"])))


class RecommendationReopenView(_Answer):
    @extend_schema(operation_id="recommendations_reopen", request=ReopenInput, responses=RecommendationOutput)
    def post(self, request: Request, recommendation_id: int) -> Response:
        validated(ReopenInput, request)
        return Response(recommendation_json(recommending.reopen(**self.within(recommendation_id))))


ANSWERS = {
    "accept": RecommendationAcceptView,
    "dismiss": RecommendationDismissView,
    "done": RecommendationDoneView,
    "reopen": RecommendationReopenView,
}


class SavingsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="savings_get", parameters=LEDGER, responses=SavingsOutput)
    def get(self, request: Request) -> Response:
        query = request.query_params
        parameters.filters(query, (), {"limit", "cursor"})
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        after = position_of(query["cursor"], _LedgerPosition) if query.get("cursor") else None
        org, part = self.organization, part_of(self.principal)
        with tenant(org):
            found_at, days = savings.last_round(org)
            totals = savings.ledger_totals(savings.find_adoptions(org, part=part, limit=savings.LEDGER_MAX))
            open_, accepted = (savings.joint(org, state, part) for state in (State.OPEN, State.ACCEPTED))
            rows = savings.find_adoptions(org, part=part, after=after, limit=limit + 1)
        last = rows[limit - 1] if len(rows) > limit else None
        return Response(
            {
                "as_of": found_at,
                "days": days,
                "open": joint_json(open_),
                "accepted": joint_json(accepted),
                "totals": {
                    "adopted": totals.adopted,
                    "measured": totals.measured,
                    "untold": totals.untold,
                    "predicted_usd": usd_text(totals.predicted_usd),
                    "at_volume_usd": usd_text(totals.at_volume_usd),
                    "realized_usd": usd_text(totals.realized_usd),
                    "ratio": None if totals.ratio is None else str(totals.ratio),
                    "coverage": None if totals.coverage is None else str(totals.coverage),
                },
                "data": [adoption_json(row) for row in rows[:limit]],
                "next": cursor_of((last.adopted_at, last.pk)) if last else None,
            }
        )


def part_of(principal: Principal, asked: Mapping[str, str] | None = None) -> Part:
    """What a key may see of what it asks for; a pinned one, of no workflow that others use too.

    Raises `DomainError` (`pinned_dimension`) for one of an environment.
    """
    found = parameters.within_pins(principal, asked or {})
    if "environment" in found:
        detail = f"This key belongs to environment '{found['environment']}'; recommendations are of whole workflows."
        raise DomainError("pinned_dimension", detail, param="environment")
    team, org = found.get("team"), principal.organization
    part = Part(None if team is None else [team], found.get("project"))
    if principal.team is None and principal.project is None:
        return part
    with tenant(org):
        return savings.own_part(org, calendar(org), part, timezone.now())


def _choice(query: Mapping[str, str], name: str, values: list[str] | None = None) -> str | None:
    given, known = query.get(name), values or CHOICES[name]
    if given is not None and given not in known:
        raise DomainError("choice_unknown", f"{name} is '{given[:40]}': it is one of {', '.join(known)}.", param=name)
    return given


def _said_decimal(text: str | None, name: str) -> Decimal | None:
    if text is None:
        return None
    try:
        return Decimal(text)
    except ArithmeticError:
        raise DomainError(
            "implementation_invalid", f"{name} is '{text[:20]}': write a number such as \"12.5\".", param=name
        ) from None


def recommendation_json(row: Recommendation) -> dict[str, Any]:
    words = words_of(row.kind, row.evidence)
    plain = (
        "kind", "workflow", "project", "team", "segment", "state", "grade", "label", "runs_needed", "evidence", "runs",
        "first_found_at", "found_at", "vanished_at", "decided_at", "decided_by", "reason", "trial",
    )  # fmt: skip
    return {
        "id": row.pk,
        **{name: getattr(row, name) for name in plain},
        "title": words.title,
        "do": words.do,
        "reckoned": words.reckoned,
        "verify": words.verify,
        "headline_usd": usd_text(row.headline_usd),
        "saving_usd": _triple(row.saving_low_usd, row.saving_likely_usd, row.saving_high_usd),
        "scope_usd": usd_text(row.scope_usd),
        "implementation_usd": usd_text(row.implementation_usd),
    }


def adoption_json(row: Adoption) -> dict[str, Any]:
    plain = ("kind", "workflow", "team", "adopted_at", "recorded_by", "measured_days", "unit")
    is_told = row.realized_usd is not None
    measured = measurement_of(row)
    return {
        "id": row.pk,
        "recommendation": row.recommendation_id,
        **{name: getattr(row, name) for name in plain},
        "predicted_usd": _triple(row.predicted_low_usd, row.predicted_likely_usd, row.predicted_high_usd),
        "implementation_usd": usd_text(row.implementation_usd),
        "realized_usd": _triple(row.realized_low_usd, row.realized_usd, row.realized_high_usd) if is_told else None,
        "volume": f"{measured.volume:f}" if is_told else None,
        "shared_with": measured.shared_with,
        "inside": is_inside(row) if is_told else None,
        "why_not": row.why,
    }


def joint_json(found: Portfolio) -> dict[str, Any]:
    saving = found.saving
    return {
        "saving_usd": _triple(*map(recommending.usd_of, (saving.low, saving.likely, saving.high))),
        "sum_usd": usd_text(recommending.usd_of(found.sum)),
        "counted": found.counted,
        "left_out": found.left_out,
    }


def _triple(low: Decimal | None, likely: Decimal | None, high: Decimal | None) -> dict[str, str | None]:
    return {"p10": usd_text(low), "p50": usd_text(likely), "p90": usd_text(high)}
