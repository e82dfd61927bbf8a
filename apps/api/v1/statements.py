"""GET /api/v1/statements: a month's chargeback, drafts or final, JSON and CSV."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
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
from apps.reports.papers import CSV, PAPERS
from apps.reports.papers.rows import statements_csv
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
        return file_response(statements_csv(found), CSV, f"chargeback-{month:%Y-%m}.csv")


class StatementView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="statements_retrieve", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, statement_id: str) -> HttpResponse:
        one = _statement(self.principal, statement_id)
        # A final statement is the very bytes that its hash is of.
        return HttpResponse(one.canonical, content_type="application/json", headers={"X-Content-SHA256": one.sha256})


class PaperView(ScopedView):
    scopes = {"GET": Scope.READ}
    paper: str

    def get(self, request: Request, statement_id: str) -> HttpResponse:
        one = _statement(self.principal, statement_id)
        paper = PAPERS[self.paper]
        name = f"chargeback-{one.month}-{one.team or 'unattributed'}.{self.paper}"
        return file_response(paper.render(one), paper.content_type, name)


def _paper_view(name: str) -> type[PaperView]:
    """The view of one format, under an operation of its own."""
    media = PAPERS[name].content_type.partition(";")[0]
    members = {"paper": name, "renderer_classes": [JSONRenderer, _renderer(media, name)], "scopes": PaperView.scopes}
    view = type(f"Statement{name.replace('.', ' ').title().replace(' ', '')}View", (PaperView,), members)
    operation = extend_schema(
        operation_id=f"statements_retrieve_{name.replace('.', '_')}", responses={(200, media): OpenApiTypes.BINARY}
    )
    described: type[PaperView] = extend_schema_view(get=operation)(view)
    return described


def _renderer(media: str, name: str) -> type[JSONRenderer]:
    """Lets a client ask for the file by Accept; an error is still a problem in JSON."""
    return type(f"{name.title()}Renderer", (JSONRenderer,), {"media_type": media, "format": name})


# By the end of the address: of two, the longer first.
PAPER_VIEWS = {name: _paper_view(name) for name in sorted(PAPERS, key=len, reverse=True)}


def _asked(principal: Principal, request: Request) -> tuple[date, str | None]:
    """The month, and the team where only one is asked for or the key belongs to one."""
    query = request.query_params
    asked = within_team(principal, parameters.filters(query, {"team"}, {"month"}))
    month = parameters.month(query, default=current_month(principal.organization, timezone.now()))
    return month, asked.get("team")


def _statement(principal: Principal, statement_id: str) -> Document:
    found = statement_by_id(principal.organization, statement_id, at=timezone.now())
    within_team(principal, {"team": found.team or ""})
    return found


def within_team(principal: Principal, asked: Mapping[str, str]) -> dict[str, str]:
    """A statement is a team's: a key of a project or an environment reads none."""
    found = parameters.within_pins(principal, asked)
    for pin in ("project", "environment"):
        if pin in found:
            detail = f"This key belongs to {pin} '{found[pin]}'; statements are of whole teams."
            raise DomainError("pinned_dimension", detail, param=pin)
    return found


def file_response(content: bytes, content_type: str, name: str) -> HttpResponse:
    response = HttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{_UNSAFE_IN_FILES.sub("_", name)}"'
    return response
