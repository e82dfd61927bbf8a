"""GET /api/v1/plans/{id}/variance and /api/v1/variance: why a month cost more than its plan, or than another month."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.plans import seen, within_plans
from apps.api.views import ScopedView
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.periods import month_before
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.planner import against
from apps.planner.actuals import Actuals
from apps.planner.actuals_sql import CUTS
from apps.planner.against import Compared
from apps.planner.measures import Measures, measure
from apps.planner.variance import LINES, Line, Part, Variance, WorkflowUse
from apps.reports.selectors import current_month

# Of one line; the rest are small.
PARTS_MAX = 100
MONTH = OpenApiParameter("month", str, description="YYYY-MM; default: this month, as far as it came.")
SECOND = timedelta(seconds=1)
# What shows the runs behind a line best; the others are all runs, the dearest first.
RUNS_WITH = {"retries": {"with": "retries"}, "routing": {"with": "escalations"}}


class VariancePartOutput(serializers.Serializer[Any]):
    workflow = serializers.CharField(allow_null=True)
    provider = serializers.CharField(allow_null=True)
    model = serializers.CharField(allow_null=True, help_text="Null: all models together.")
    usd = serializers.CharField()


class VarianceLineOutput(serializers.Serializer[Any]):
    line = serializers.ChoiceField(LINES)
    usd = serializers.CharField()
    is_large = serializers.BooleanField(help_text="At least 100 USD and 2 % of the earlier side.")
    parts = VariancePartOutput(many=True, help_text=f"They add up to the line; the largest first, at most {PARTS_MAX}.")
    runs = serializers.CharField(help_text="The runs behind it: a path with its filters.")


class VarianceApartOutput(serializers.Serializer[Any]):
    workflow = serializers.CharField(allow_null=True)
    provider = serializers.CharField()
    model = serializers.CharField()
    before_calls = serializers.IntegerField()
    after_calls = serializers.IntegerField()
    before_usd = serializers.CharField(allow_null=True, help_text="Null: no price is known.")
    after_usd = serializers.CharField(allow_null=True)


class MeasuresOutput(serializers.Serializer[Any]):
    runs = serializers.FloatField(allow_null=True, help_text="Null: too few calls name their run.")
    calls_per_run = serializers.FloatField(allow_null=True)
    attempts_per_call = serializers.FloatField(allow_null=True)
    escalated_share = serializers.FloatField(allow_null=True)
    context_tokens = serializers.FloatField(allow_null=True, help_text="Prompt of an attempt.")
    cached_share = serializers.FloatField(allow_null=True, help_text="Of prompt tokens.")
    output_tokens = serializers.FloatField(allow_null=True, help_text="Of an attempt.")
    usd_per_million_tokens = serializers.FloatField(allow_null=True)
    usd_per_run = serializers.FloatField(allow_null=True)


class VarianceOutput(serializers.Serializer[Any]):
    month = serializers.CharField()
    so_far = serializers.BooleanField(help_text="The month is under way: both sides are compared as far as it came.")
    as_of = serializers.DateTimeField()
    change_usd = serializers.CharField(allow_null=True, help_text="Null: there is nothing to compare.")
    flexed_usd = serializers.CharField(
        allow_null=True, help_text="The earlier side at the later one's runs and prices."
    )
    controllable_usd = serializers.CharField(allow_null=True, help_text="What is above that.")
    lines = VarianceLineOutput(many=True, help_text="They add up to the change exactly; those of 0 are left out.")
    apart = VarianceApartOutput(many=True, help_text="Models that one side knows no price of, in nothing else.")
    by_calls = serializers.ListField(
        child=serializers.CharField(allow_null=True), help_text="Workflows whose volume is counted in calls."
    )
    unpriced_calls = serializers.IntegerField(help_text="Calls of the month without a price.")


class PlanVarianceOutput(VarianceOutput):
    plan_id = serializers.IntegerField()
    workflow = serializers.CharField()
    version = serializers.IntegerField()
    basis = serializers.ChoiceField((against.APPROVED, against.LATER, against.DRAFT))
    state = serializers.ChoiceField(
        (against.COMPARED, against.UNPRICED, against.NOT_BEGUN, against.NO_USAGE, against.NOTHING)
    )
    planned_usd = serializers.CharField(allow_null=True, help_text="As far as the month came.")
    planned_month_usd = serializers.CharField(allow_null=True, help_text="Of the whole month.")
    beside_usd = serializers.CharField(allow_null=True, help_text="Planned beside model calls: in nothing else here.")
    actual_usd = serializers.CharField()
    runs_basis = serializers.ChoiceField(("runs", "estimated", "calls"), allow_null=True)
    runs_named_share = serializers.FloatField(allow_null=True, help_text="Of calls, those that name their run.")
    planned = MeasuresOutput(allow_null=True)
    actual = MeasuresOutput(allow_null=True)


class MonthVarianceOutput(VarianceOutput):
    before = serializers.CharField()
    before_usd = serializers.CharField()
    after_usd = serializers.CharField()


class PlanVarianceView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="plans_variance", parameters=[MONTH], responses=PlanVarianceOutput)
    def get(self, request: Request, plan_id: int) -> Response:
        parameters.filters(request.query_params, (), {"month"})
        now = timezone.now()
        month = parameters.month(request.query_params, default=current_month(self.organization, now))
        with tenant(self.organization):
            plan = seen(self.principal, plan_id)
        cut = within_plans(self.principal, {})
        found = against.against_plan(self.organization, plan, month, at=now, cut=cut)
        use, known = _only(found.actuals), found.runs_known(plan.workflow_slug)
        return Response(
            {
                "plan_id": plan.pk,
                "workflow": plan.workflow_slug,
                "version": found.version,
                "basis": found.basis,
                "state": found.state,
                **variance_json(found, {**cut, "workflow": plan.workflow_slug}),
                "planned_usd": usd_text(found.planned.use.usd) if found.planned else None,
                "planned_month_usd": usd_text(found.month_usd),
                "beside_usd": usd_text(found.planned.beside_usd) if found.planned else None,
                "actual_usd": usd_text(use.usd),
                "runs_basis": known.basis if known else None,
                "runs_named_share": round(known.named_share, 6) if known else None,
                "planned": measures_json(measure(found.planned.use)) if found.planned else None,
                "actual": measures_json(measure(use)) if use.models else None,
            }
        )


class VarianceView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="variance_get",
        parameters=[
            MONTH,
            OpenApiParameter("before", str, description="YYYY-MM; default: the month before `month`."),
            *(OpenApiParameter(name, str, description=f"Only this {name}'s calls.") for name in CUTS),
        ],
        responses=MonthVarianceOutput,
        description="Why a month cost more or less than an earlier one, in lines that add up to the difference. A month"
        " under way is compared with as much of the earlier one.",
    )
    def get(self, request: Request) -> Response:
        query, now = request.query_params, timezone.now()
        cut = parameters.within_pins(self.principal, parameters.filters(query, CUTS, {"month", "before"}))
        month = parameters.month(query, default=current_month(self.organization, now))
        before = _before(query, month)
        found = against.month_over_month(self.organization, month, before, at=now, cut=cut)
        return Response(
            {
                "before": f"{found.before_month:%Y-%m}",
                **variance_json(found, cut),
                "before_usd": usd_text(found.before.usd),
                "after_usd": usd_text(found.actuals.usd),
            }
        )


def _before(query: Any, month: date) -> date:
    try:
        return parameters.month(query, "before", default=month_before(month))
    except DomainError as error:
        raise DomainError("month_invalid", error.detail.replace("month is", "before is", 1), param="before") from error


def _only(actuals: Actuals) -> WorkflowUse:
    """The one workflow's, empty where no call came."""
    return next(iter(actuals.uses), WorkflowUse(None, None, ()))


def variance_json(found: Compared, cut: Mapping[str, str]) -> dict[str, Any]:
    variance = found.variance
    return {
        "month": f"{found.month:%Y-%m}",
        "so_far": found.is_so_far,
        "as_of": found.actuals.as_of,
        "change_usd": usd_text(variance.change_usd) if variance else None,
        "flexed_usd": usd_text(variance.flexed_usd) if variance else None,
        "controllable_usd": usd_text(variance.controllable_usd) if variance else None,
        "lines": [_line_json(variance, line, found, cut) for line in variance.lines] if variance else [],
        "apart": [
            {
                "workflow": one.workflow,
                "provider": one.model.provider,
                "model": one.model.model,
                "before_calls": round(one.before_calls),
                "after_calls": round(one.after_calls),
                "before_usd": usd_text(one.before_usd),
                "after_usd": usd_text(one.after_usd),
            }
            for one in (variance.apart if variance else ())
        ],
        "by_calls": list(variance.by_calls) if variance else [],
        "unpriced_calls": found.actuals.unpriced_calls,
    }


def _line_json(variance: Variance, line: Line, found: Compared, cut: Mapping[str, str]) -> dict[str, Any]:
    query = {
        "from": found.start.isoformat(),
        "to": max(found.end, found.start + SECOND).isoformat(),
        **cut,
        **RUNS_WITH.get(line.kind, {}),
        "sort": "cost",
    }
    return {
        "line": line.kind,
        "usd": usd_text(line.usd),
        "is_large": variance.is_large(line),
        "parts": [_part_json(part) for part in line.parts[:PARTS_MAX]],
        "runs": f"/api/v1/runs?{urlencode(query)}",
    }


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "workflow": part.workflow,
        "provider": part.model.provider if part.model else None,
        "model": part.model.model if part.model else None,
        "usd": usd_text(part.usd),
    }


def measures_json(found: Measures) -> dict[str, Any]:
    figures = {
        "runs": found.runs,
        "calls_per_run": found.calls_per_run,
        "attempts_per_call": found.attempts_per_call,
        "escalated_share": found.escalated_share,
        "context_tokens": found.context_tokens,
        "cached_share": found.cached_share,
        "output_tokens": found.output_tokens,
        "usd_per_million_tokens": found.usd_per_million,
        "usd_per_run": found.usd_per_run,
    }
    return {name: None if figure is None else round(figure, 9) for name, figure in figures.items()}
