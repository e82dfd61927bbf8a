"""GET /api/v1/statements: a month's chargeback, drafts or final, JSON and CSV."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
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
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal
from apps.reports.document import Document
from apps.reports.exports import statements_csv
from apps.reports.selectors import current_month
from apps.reports.statements import statement_by_id, statements

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
        found = statements(self.organization, month, at=timezone.now(), team=team)
        return Response({"data": [msgspec.to_builtins(one) for one in found]})


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
        found = statements(self.organization, month, at=timezone.now(), team=team)
        return csv_response(found, f"chargeback-{month:%Y-%m}")


class StatementView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="statements_retrieve", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, statement_id: str) -> HttpResponse:
        one = _statement(self.principal, statement_id)
        # A final statement is the very bytes that its hash is of.
        return HttpResponse(one.canonical, content_type="application/json", headers={"X-Content-SHA256": one.sha256})


class StatementCsvView(ScopedView):
    renderer_classes = [JSONRenderer, CsvRenderer]
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="statements_retrieve_csv", responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request, statement_id: str) -> HttpResponse:
        one = _statement(self.principal, statement_id)
        return csv_response([one], f"chargeback-{one.month}-{one.team or 'unattributed'}")


def _asked(principal: Principal, request: Request) -> tuple[date, str | None]:
    """The month, and the team where only one is asked for or the key belongs to one."""
    query = request.query_params
    asked = _within_team(principal, parameters.filters(query, {"team"}, {"month"}))
    month = parameters.month(query, default=current_month(principal.organization, timezone.now()))
    return month, asked.get("team")


def _statement(principal: Principal, statement_id: str) -> Document:
    found = statement_by_id(principal.organization, statement_id, at=timezone.now())
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


def csv_response(found: list[Document], name: str) -> HttpResponse:
    response = HttpResponse(statements_csv(found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_UNSAFE_IN_FILES.sub("_", name)}.csv"'
    return response
