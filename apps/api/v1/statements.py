"""GET /api/v1/statements: the month's chargeback as drafts, JSON and CSV."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.views import ScopedView
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal
from apps.reports.exports import statements_csv
from apps.reports.selectors import current_month
from apps.reports.statements import Statement, StatementLine, statement_by_id, statements

MONTH = OpenApiParameter("month", str, description="YYYY-MM; default: this month.")
TEAM = OpenApiParameter("team", str, description="Only this team's statement; empty: the unattributed one.")

_UNSAFE_IN_FILES = re.compile(r"[^A-Za-z0-9._-]")


class StatementsOutput(serializers.Serializer[Any]):
    data = serializers.ListField(child=serializers.DictField())  # type: ignore[assignment]  # the contract's name


class StatementsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="statements_list", parameters=[MONTH, TEAM], responses=StatementsOutput)
    def get(self, request: Request) -> Response:
        month, team = _asked(self.principal, request)
        return Response({"data": [statement_json(one) for one in statements(self.organization, month, team=team)]})


class CsvRenderer(JSONRenderer):
    """Lets a client ask for CSV by Accept; an error is still a problem in JSON."""

    media_type = "text/csv"
    format = "csv"


class StatementsCsvView(ScopedView):
    renderer_classes = [JSONRenderer, CsvRenderer]
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="statements_csv",
        parameters=[MONTH, TEAM],
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponse:
        month, team = _asked(self.principal, request)
        return csv_response(statements(self.organization, month, team=team), f"chargeback-{month:%Y-%m}")


class StatementView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="statements_retrieve", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, statement_id: str) -> Response:
        return Response(statement_json(_statement(self.principal, statement_id)))


class StatementCsvView(ScopedView):
    renderer_classes = [JSONRenderer, CsvRenderer]
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="statements_retrieve_csv", responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request, statement_id: str) -> HttpResponse:
        one = _statement(self.principal, statement_id)
        return csv_response([one], f"chargeback-{one.month:%Y-%m}-{one.team or 'unattributed'}")


def _asked(principal: Principal, request: Request) -> tuple[date, str | None]:
    """The month, and the team where only one is asked for or the key belongs to one."""
    query = request.query_params
    asked = _within_team(principal, parameters.filters(query, {"team"}, {"month"}))
    month = parameters.month(query, default=current_month(principal.organization, timezone.now()))
    return month, asked.get("team")


def _statement(principal: Principal, statement_id: str) -> Statement:
    found = statement_by_id(principal.organization, statement_id)
    _within_team(principal, {"team": found.team or ""})
    return found


def _within_team(principal: Principal, asked: Mapping[str, str]) -> dict[str, str]:
    """A statement is a team's: a key of a project or an environment reads none."""
    found = parameters.within_pins(principal, asked)
    for pin in ("project", "environment"):
        if pin in found:
            detail = f"This key belongs to {pin} '{found[pin]}'; statements are of whole teams."
            raise DomainError("pinned_dimension", detail, param=pin)
    return found


def csv_response(found: list[Statement], name: str) -> HttpResponse:
    response = HttpResponse(statements_csv(found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_UNSAFE_IN_FILES.sub("_", name)}.csv"'
    return response


def statement_json(statement: Statement) -> dict[str, Any]:
    return {
        "id": statement.id,
        "month": f"{statement.month:%Y-%m}",
        "team": statement.team,
        "status": statement.status,
        "usage_usd": usd_text(statement.usage_usd),
        "fees_usd": usd_text(statement.fees_usd),
        "credits_usd": usd_text(statement.credits_usd),
        "total_usd": usd_text(statement.total_usd),
        "events": statement.events,
        "unpriced_events": statement.unpriced_events,
        "as_of": statement.as_of,
        "lines": [_line_json(line) for line in statement.lines],
    }


def _line_json(line: StatementLine) -> dict[str, Any]:
    return {
        "kind": line.kind,
        "team": line.team,
        "project": line.project,
        "workflow": line.workflow,
        "provider": line.provider,
        "model": line.model,
        "name": line.name or None,
        "events": line.sums.events,
        "unpriced_events": line.sums.unpriced_events,
        "meters": {meter: quantity for meter, quantity in line.sums.meters.items() if quantity},
        "cost_usd": None if line.kind == "unpriced" else usd_text(line.sums.cost_usd),
    }
