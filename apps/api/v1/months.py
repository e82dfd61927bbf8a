"""Months of statements: their state and closing, exchange rates, adjustments, and how an organization closes."""

from datetime import date
from typing import Annotated, Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Meta
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Exact, Quoted, ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.permissions import Scope
from apps.reports import adjustments, chargeback_terms, closing, months
from apps.reports.adjustments import BY_HAND, AdjustmentDraft
from apps.reports.chargeback_terms import RATES_AT_ONCE_MAX, GivenRate
from apps.reports.models_statements import (
    CLOSE_AFTER_HOURS,
    CLOSE_AFTER_HOURS_MAX,
    Adjustment,
    ChargebackTerms,
    ExchangeRate,
)
from apps.reports.statements import parse_month, statement_by_id, stored_statements
from apps.reports.tasks import hint_seal

MONTH = OpenApiParameter("month", str, description="Only what is booked in YYYY-MM.")
RowId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
PAGED = [
    OpenApiParameter("limit", int, description=f"1 to {adjustments.PAGE_MAX}, default 100."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]


# --- months ---------------------------------------------------------------------------------------------


class CheckOutput(serializers.Serializer[Any]):
    code = serializers.CharField()
    holds = serializers.BooleanField()
    detail = serializers.CharField()


class StepOutput(serializers.Serializer[Any]):
    step = serializers.CharField()
    at = serializers.DateTimeField()
    by = serializers.CharField()
    note = serializers.CharField()
    facts = serializers.DictField()


class SealedOutput(serializers.Serializer[Any]):
    number = serializers.CharField()
    team = serializers.CharField(allow_null=True)
    total_usd = serializers.CharField(allow_null=True)
    sha256 = serializers.CharField()


class MonthOutput(serializers.Serializer[Any]):
    month = serializers.CharField()
    state = serializers.ChoiceField(choices=months.STATES)
    closes_at = serializers.DateTimeField(help_text="The first instant at which it may close.")
    checks = CheckOutput(many=True, help_text="What closing waits for; empty once it is fenced.")
    steps = StepOutput(many=True, help_text="Newest first.")
    statements = SealedOutput(many=True, help_text="Once it is final.")


class MonthView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="months_get", responses=MonthOutput)
    def get(self, request: Request, month: str) -> Response:
        parameters.require_unpinned(self.principal)
        return Response(month_json(self.organization, parse_month(month)))


class MonthReviewView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="months_review", request=None, responses=MonthOutput)
    def post(self, request: Request, month: str) -> Response:
        parameters.require_unpinned(self.principal)
        found = parse_month(month)
        closing.begin_review(org=self.organization, month=found, actor=self.principal)
        return Response(month_json(self.organization, found))


class MonthReopenView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="months_reopen", request=None, responses=MonthOutput)
    def post(self, request: Request, month: str) -> Response:
        parameters.require_unpinned(self.principal)
        found = parse_month(month)
        closing.reopen(org=self.organization, month=found, actor=self.principal)
        return Response(month_json(self.organization, found))


class MonthCloseView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="months_close",
        request=None,
        responses={202: MonthOutput},
        description="Nothing is booked in the month from here on; a worker proves it and makes it final.",
    )
    def post(self, request: Request, month: str) -> Response:
        parameters.require_unpinned(self.principal)
        return _close(self, parse_month(month))


class FinalizeView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="statements_finalize",
        request=None,
        responses={202: MonthOutput},
        description="Closes the month of the statement: the statements of a month become final together.",
    )
    def post(self, request: Request, statement_id: str) -> Response:
        parameters.require_unpinned(self.principal)
        document = statement_by_id(self.organization, statement_id, at=timezone.now())
        return _close(self, parse_month(document.month))


def _close(view: ScopedView, month: date) -> Response:
    closing.fence(org=view.organization, month=month, actor=view.principal)
    hint_seal(view.organization.pk)
    return Response(month_json(view.organization, month), status=202)


def month_json(org: Organization, month: date) -> dict[str, Any]:
    found = closing.month_state(org, month, at=timezone.now())
    return {
        "month": f"{month:%Y-%m}",
        "state": found.state,
        "closes_at": found.closes_at,
        "checks": [CheckOutput(check).data for check in found.checks],
        "steps": [StepOutput(step).data for step in found.steps],
        "statements": [
            {"number": str(row), "team": row.team, "total_usd": usd_text(row.total_usd), "sha256": row.sha256}
            for row in stored_statements(org, month)
        ],
    }


# --- terms ----------------------------------------------------------------------------------------------


class TermsInput(Exact):
    currency = serializers.CharField(max_length=16, required=False, default="USD")
    close_after_hours = serializers.IntegerField(
        required=False, default=CLOSE_AFTER_HOURS, help_text=f"0 to {CLOSE_AFTER_HOURS_MAX}, after the month's end."
    )
    closes_itself = serializers.BooleanField(required=False, default=False)


class TermsOutput(serializers.Serializer[Any]):
    currency = serializers.CharField()
    close_after_hours = serializers.IntegerField()
    closes_itself = serializers.BooleanField()


class TermsView(ScopedView):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE}

    @extend_schema(operation_id="chargeback_terms_get", responses=TermsOutput)
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            return Response(_terms_json(months.terms_of(self.organization)))

    @extend_schema(operation_id="chargeback_terms_put", request=TermsInput, responses=TermsOutput)
    def put(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(TermsInput, request)
        return Response(
            _terms_json(chargeback_terms.change_terms(org=self.organization, actor=self.principal, **given))
        )


def _terms_json(terms: ChargebackTerms) -> dict[str, Any]:
    return dict(TermsOutput(terms).data)


# --- rates ----------------------------------------------------------------------------------------------


class RateInput(Exact):
    month = serializers.CharField(max_length=16, help_text="YYYY-MM.")
    currency = serializers.CharField(max_length=16)
    rate = Quoted(max_length=40, help_text="How many units one USD was, as a decimal string.")
    source = serializers.CharField(max_length=200)  # type: ignore[assignment]  # DRF's own name


class RatesInput(Exact):
    rates = RateInput(many=True, help_text=f"At most {RATES_AT_ONCE_MAX}; all are taken, or none.")


class RateOutput(serializers.Serializer[Any]):
    month = serializers.CharField()
    currency = serializers.CharField()
    rate = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # DRF's own name
    entered_at = serializers.DateTimeField()
    entered_by = serializers.CharField()


class RatesOutput(serializers.Serializer[Any]):
    data = RateOutput(many=True)  # type: ignore[assignment]  # the contract's name


class RatesView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="exchange_rates_list", parameters=[MONTH, *PAGED], responses=listing(RateOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        month, after, limit = _page(request)
        with tenant(self.organization):
            rows = months.find_rates(self.organization, month=month, after=after, limit=limit + 1)
        return Response(_paged([rate_json(row) for row in rows], [row.pk for row in rows], limit))

    @extend_schema(operation_id="exchange_rates_enter", request=RatesInput, responses={201: RatesOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = [
            GivenRate(parse_month(rate["month"]), rate["currency"], rate["rate"], rate["source"])
            for rate in validated(RatesInput, request)["rates"]
        ]
        entered = chargeback_terms.enter_rates(org=self.organization, rates=given, actor=self.principal)
        return Response({"data": [rate_json(row) for row in entered]}, status=201)


def rate_json(row: ExchangeRate) -> dict[str, Any]:
    return {
        "month": f"{row.month:%Y-%m}",
        "currency": row.currency,
        "rate": f"{row.rate.normalize():f}",
        "source": row.source,
        "entered_at": row.entered_at,
        "entered_by": row.entered_by,
    }


# --- adjustments ----------------------------------------------------------------------------------------


class AdjustmentInput(Exact):
    kind = serializers.ChoiceField(choices=[kind.value for kind in BY_HAND], required=False, default="adjustment")
    month = serializers.CharField(max_length=16, help_text="YYYY-MM: the month that it is about.")
    team = serializers.CharField(max_length=256, allow_null=True, help_text="null: what no team owns.")
    name = serializers.CharField(max_length=256)
    amount_usd = Quoted(max_length=40, help_text="Below 0 takes off.")
    reason = serializers.CharField(max_length=500)
    refers_to = serializers.CharField(
        max_length=32, required=False, default="", allow_blank=True, help_text="Of a credit note: CS-000012."
    )
    request_id = serializers.CharField(
        max_length=128, required=False, default="", help_text="Of your own: what is sent again under it is booked once."
    )


class AdjustmentOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    month = serializers.CharField()
    booked_month = serializers.CharField(help_text="The month itself, or the first open one after it.")
    team = serializers.CharField(allow_null=True)
    provider = serializers.CharField()
    model = serializers.CharField()
    name = serializers.CharField()
    amount_usd = serializers.CharField()
    reason = serializers.CharField()
    refers_to = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # DRF's own name
    request_id = serializers.CharField(allow_null=True)
    booked_at = serializers.DateTimeField()
    booked_by = serializers.CharField()


class AdjustmentsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="adjustments_list", parameters=[MONTH, *PAGED], responses=listing(AdjustmentOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        month, after, limit = _page(request)
        with tenant(self.organization):
            rows = adjustments.find_adjustments(self.organization, month=month, after=after, limit=limit + 1)
        return Response(_paged([adjustment_json(row) for row in rows], [row.pk for row in rows], limit))

    @extend_schema(
        operation_id="adjustments_book",
        request=AdjustmentInput,
        responses={201: AdjustmentOutput},
        description="Append-only: what was wrong is followed by its opposite. With a `request_id` it may be repeated.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(AdjustmentInput, request)
        draft = AdjustmentDraft(
            kind=given["kind"],
            team=given["team"],
            name=given["name"],
            cost_usd=adjustments.signed_usd(given["amount_usd"]),
            reason=given["reason"],
            of_month=parse_month(given["month"]),
            refers_to=given["refers_to"],
            request_id=given["request_id"],
        )
        [row] = adjustments.book(org=self.organization, lines=[draft], actor=self.principal)
        return Response(adjustment_json(row), status=201)


def adjustment_json(row: Adjustment) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "month": f"{row.of_month:%Y-%m}",
        "booked_month": f"{row.booked_month:%Y-%m}",
        "team": row.team,
        "provider": row.provider,
        "model": row.model,
        "name": row.name,
        "amount_usd": usd_text(row.cost_usd),
        "reason": row.reason,
        "refers_to": row.refers_to,
        "source": row.source,
        "request_id": row.request_id,
        "booked_at": row.booked_at,
        "booked_by": row.booked_by,
    }


def _page(request: Request) -> tuple[date | None, int | None, int]:
    """The month asked for, the row after which to go on, and how many."""
    query = request.query_params
    parameters.filters(query, (), {"month", "limit", "cursor"})
    cursor = query.get("cursor")
    return (
        parse_month(query["month"]) if "month" in query else None,
        position_of(cursor, RowId) if cursor else None,
        parameters.integer(query, "limit", 100, minimum=1, maximum=adjustments.PAGE_MAX),
    )


def _paged(rows: list[dict[str, Any]], ids: list[int], limit: int) -> dict[str, Any]:
    return {"data": rows[:limit], "next": cursor_of(ids[limit - 1]) if len(rows) > limit else None}
