"""Budgets and their raises."""

from decimal import Decimal
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.alerts.tasks import hint_tell
from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.v1.paging import PAGED, next_of
from apps.api.views import Exact, Quoted, ScopedView, listing
from apps.budgets import selectors, services
from apps.budgets.models import Budget, Counter, Raise
from apps.budgets.reading import require_amount
from apps.budgets.selectors import PAGE_MAX, PAST_PERIODS_MAX, SUBJECTS_LISTED, SUBJECTS_MAX, Standing
from apps.budgets.services import BudgetTerms
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.permissions import Scope

AMOUNT: dict[str, Any] = {"max_length": 40, "help_text": "USD as a decimal string."}


class BudgetInput(Exact):
    name = serializers.CharField(max_length=100)
    scope = serializers.DictField(
        child=serializers.CharField(max_length=256), required=False, default=dict,
        help_text='Dimensions and values; "*" is each value by itself; {} is the whole organization.',
    )  # fmt: skip
    period = serializers.CharField(max_length=10)
    starts_at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Of a range.")
    ends_at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Of a range.")
    amount_usd = Quoted(**AMOUNT)
    mode = serializers.CharField(max_length=10, required=False, default="notify")
    downgrade_to = serializers.DictField(
        child=Quoted(max_length=256), required=False, allow_null=True, default=None,
        help_text="{provider, model}, or {input_usd, output_usd} per million tokens.",
    )  # fmt: skip
    thresholds = serializers.ListField(
        child=serializers.IntegerField(),
        required=False,
        default=lambda: [50, 80, 100],
        help_text="Percent of the limit.",
    )
    forecast_thresholds = serializers.ListField(
        child=serializers.IntegerField(), required=False, default=list, help_text="Percent, of the run rate's forecast."
    )
    rollover = serializers.BooleanField(required=False, default=False)


class BudgetChange(Exact):
    name = serializers.CharField(max_length=100, required=False)
    scope = serializers.DictField(child=serializers.CharField(max_length=256), required=False, help_text="As it is.")
    period = serializers.CharField(max_length=10, required=False, help_text="As it is.")
    starts_at = serializers.DateTimeField(required=False, allow_null=True, help_text="As it is.")
    ends_at = serializers.DateTimeField(required=False, allow_null=True, help_text="As it is.")
    amount_usd = Quoted(required=False, **AMOUNT)
    mode = serializers.CharField(max_length=10, required=False)
    downgrade_to = serializers.DictField(child=Quoted(max_length=256), required=False, allow_null=True)
    thresholds = serializers.ListField(child=serializers.IntegerField(), required=False)
    forecast_thresholds = serializers.ListField(child=serializers.IntegerField(), required=False)
    rollover = serializers.BooleanField(required=False)


class CounterOutput(serializers.Serializer[Any]):
    subject = serializers.CharField(help_text='"" or, where the scope says "*", a JSON object of values.')
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    limit_usd = serializers.CharField(help_text="With what was rolled over and raised.")
    spent_usd = serializers.CharField()
    held_usd = serializers.CharField()
    remaining_usd = serializers.CharField()
    overrun_usd = serializers.CharField(help_text="Booked above or without a live hold, or by a lower limit.")
    assumed_usd = serializers.CharField(help_text="Part of spent_usd that stands for unpriced usage.")
    rolled_usd = serializers.CharField()
    events = serializers.IntegerField()
    unpriced_events = serializers.IntegerField()


class RaiseInput(Exact):
    amount_usd = Quoted(**AMOUNT)
    expires_at = serializers.DateTimeField()
    reason = serializers.CharField(max_length=500)


class RaiseOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    budget_id = serializers.IntegerField()
    amount_usd = serializers.CharField()
    expires_at = serializers.DateTimeField()
    reason = serializers.CharField()
    state = serializers.CharField()
    asked_by = serializers.CharField()
    asked_at = serializers.DateTimeField()
    decided_by = serializers.CharField()
    decided_at = serializers.DateTimeField(allow_null=True)


class BudgetOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    scope = serializers.DictField(child=serializers.CharField())
    period = serializers.CharField()
    starts_at = serializers.DateTimeField(allow_null=True)
    ends_at = serializers.DateTimeField(allow_null=True)
    amount_usd = serializers.CharField()
    mode = serializers.CharField()
    downgrade_to = serializers.DictField(child=serializers.CharField(), allow_null=True)
    thresholds = serializers.ListField(child=serializers.IntegerField())
    forecast_thresholds = serializers.ListField(child=serializers.IntegerField())
    rollover = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    ended_at = serializers.DateTimeField(allow_null=True)
    resets_at = serializers.DateTimeField(allow_null=True, help_text="When the current period ends.")
    counters = CounterOutput(
        many=True,
        help_text=f"Of the current period, those with the least left first: {SUBJECTS_LISTED} in a list, up to"
        f" {SUBJECTS_MAX} of one budget.",
    )
    subjects = serializers.IntegerField(help_text="How many counters the period has.")
    raises = RaiseOutput(many=True, help_text="Those in force.")


class BudgetDetailOutput(BudgetOutput):
    past = CounterOutput(many=True, help_text=f"Of {PAST_PERIODS_MAX} periods before, newest first.")


class BudgetsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(
        operation_id="budgets_list",
        responses=listing(BudgetOutput),
        parameters=[
            OpenApiParameter("mode", str, enum=Budget.Mode.values),
            OpenApiParameter("period", str, enum=Budget.Period.values),
            OpenApiParameter("dimension", str, description="Only those whose scope names it, such as team."),
            OpenApiParameter("ended", str, enum=["true", "false"], description="Default false."),
            *PAGED,
        ],
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        known = {"mode", "period", "dimension", "ended", "cursor"}
        asked = parameters.filters(request.query_params, known, {"limit"})
        limit = parameters.integer(request.query_params, "limit", 100, minimum=1, maximum=PAGE_MAX)
        org = self.organization
        with tenant(org):
            page = selectors.find_budgets(org, limit=limit, **asked)
            rows = selectors.standings(org, page.rows, timezone.now(), subjects_max=SUBJECTS_LISTED)
        return Response({"data": [budget_json(row) for row in rows], "next": next_of(page)})

    @extend_schema(
        operation_id="budgets_create",
        request=BudgetInput,
        responses={201: BudgetOutput},
        description="Its current period begins with what is spent and held already.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(BudgetInput, request)
        if given["period"] == "run":
            raise DomainError(
                "period_unknown",
                "A budget is for a period of time: for runs, bound a workflow at /api/v1/run-bounds/{workflow}.",
                param="period",
            )
        given["amount_usd"] = require_amount(given["amount_usd"], "amount_usd")
        budget = services.create_budget(org=self.organization, terms=BudgetTerms(**given), actor=self.principal)
        hint_tell(self.organization.pk)
        return Response(_shown(self.organization, budget), status=201)


class BudgetView(ScopedView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(operation_id="budgets_get", responses=BudgetDetailOutput)
    def get(self, request: Request, budget_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        now = timezone.now()
        with tenant(self.organization):
            budget = services.budget_by_id(self.organization, budget_id)
            (row,) = selectors.standings(self.organization, [budget], now, subjects_max=SUBJECTS_MAX)
            past = selectors.past_counters(self.organization, budget, now)
        return Response({**budget_json(row), "past": [counter_json(counter) for counter in past]})

    @extend_schema(
        operation_id="budgets_change",
        request=BudgetChange,
        responses=BudgetOutput,
        description="Scope and period stay. What is above a lower limit becomes overrun.",
    )
    def patch(self, request: Request, budget_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        changes = dict(validated(BudgetChange, request))
        if "amount_usd" in changes:
            changes["amount_usd"] = require_amount(changes["amount_usd"], "amount_usd")
        budget = services.change_budget(
            org=self.organization, budget_id=budget_id, changes=changes, actor=self.principal
        )
        hint_tell(self.organization.pk)
        return Response(_shown(self.organization, budget))

    @extend_schema(operation_id="budgets_end", responses=BudgetOutput, description="It ends now; its past stays.")
    def delete(self, request: Request, budget_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        budget = services.end_budget(org=self.organization, budget_id=budget_id, actor=self.principal)
        return Response(_shown(self.organization, budget))


class RaisesView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="raises_list", responses=listing(RaiseOutput))
    def get(self, request: Request, budget_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            services.budget_by_id(self.organization, budget_id)
            rows = selectors.list_raises(self.organization, budget_id)
        return Response({"data": [raise_json(row) for row in rows], "next": None})

    @extend_schema(
        operation_id="raises_ask", request=RaiseInput, responses={201: RaiseOutput}, description="To be approved."
    )
    def post(self, request: Request, budget_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(RaiseInput, request)
        row = services.ask_raise(
            org=self.organization,
            budget_id=budget_id,
            amount_usd=require_amount(given["amount_usd"], "amount_usd"),
            expires_at=given["expires_at"],
            reason=given["reason"],
            actor=self.principal,
        )
        hint_tell(self.organization.pk)
        return Response(raise_json(row), status=201)


class RaiseApproveView(ScopedView):
    scopes = {"POST": Scope.MANAGE}
    approve = True

    @extend_schema(operation_id="raises_approve", request=None, responses=RaiseOutput)
    def post(self, request: Request, raise_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        row = services.decide_raise(
            org=self.organization, raise_id=raise_id, approve=self.approve, actor=self.principal
        )
        return Response(raise_json(row))


class RaiseRefuseView(RaiseApproveView):
    scopes = {"POST": Scope.MANAGE}
    approve = False

    @extend_schema(operation_id="raises_refuse", request=None, responses=RaiseOutput)
    def post(self, request: Request, raise_id: int) -> Response:
        return super().post(request, raise_id)


def _shown(org: Organization, budget: Budget) -> dict[str, Any]:
    with tenant(org):
        return budget_json(*selectors.standings(org, [budget], timezone.now(), subjects_max=SUBJECTS_MAX))


def budget_json(row: Standing) -> dict[str, Any]:
    budget = row.budget
    shown = {name: getattr(budget, name) for name in BudgetOutput().get_fields() if hasattr(budget, name)}
    return {
        **shown,
        "id": budget.pk,
        "amount_usd": usd_text(budget.amount_usd),
        "resets_at": row.period[1] if row.period and budget.ended_at is None else None,
        "counters": [counter_json(counter) for counter in row.counters],
        "subjects": row.subjects,
        "raises": [raise_json(raised) for raised in row.raises],
    }


def counter_json(row: Counter) -> dict[str, Any]:
    left: Decimal = row.limit_usd - row.spent_usd - row.held_usd
    return {
        "subject": row.subject,
        "period_start": row.period_start,
        "period_end": row.period_end,
        **{
            name: usd_text(getattr(row, name))
            for name in ("limit_usd", "spent_usd", "held_usd", "overrun_usd", "assumed_usd", "rolled_usd")
        },
        "remaining_usd": usd_text(max(left, Decimal(0))),
        "events": row.events,
        "unpriced_events": row.unpriced_events,
    }


def raise_json(row: Raise) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in RaiseOutput().get_fields()},
        "amount_usd": usd_text(row.amount_usd),
    }
