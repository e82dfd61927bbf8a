"""GET /api/v1/audit: who did what, with the hashes that prove it."""

from datetime import datetime
from typing import Any

from django.http import QueryDict
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.views import ScopedView
from apps.audit.selectors import PAGE_MAX, Wanted, chain_head, find_entries, position_after
from apps.core.cursors import cursor_of
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.reports.audit_exports import entry_json


class AuditEntryOutput(serializers.Serializer[Any]):
    organization_id = serializers.IntegerField()
    sequence = serializers.IntegerField(help_text="Its number in the organization's chain, from 1 without a gap.")
    at = serializers.CharField(help_text="RFC 3339, spelled as it was hashed.")
    actor = serializers.CharField()
    action = serializers.CharField()
    subject = serializers.CharField()
    # The contract's name, which the framework has for the input.
    data = serializers.DictField()  # type: ignore[assignment]
    previous_hash = serializers.CharField(help_text="The hash of the entry before it, hexadecimal.")
    hash = serializers.CharField(help_text="SHA-256, hexadecimal; docs/security.md says of what.")


class AuditHeadOutput(serializers.Serializer[Any]):
    sequence = serializers.IntegerField()
    hash = serializers.CharField()


LISTED = inline_serializer(
    "AuditEntryList",
    {
        "data": AuditEntryOutput(many=True),
        "next": serializers.CharField(allow_null=True),
        "head": AuditHeadOutput(help_text="The last entry of the whole chain."),
    },
)


class AuditView(ScopedView):
    scopes = {"GET": Scope.MANAGE}

    @extend_schema(
        operation_id="audit_list",
        responses=LISTED,
        parameters=[
            OpenApiParameter("actor", str, description="Exactly: an address, key:ID, command."),
            OpenApiParameter("action", str, description="One, as keys.issued, or all of a kind, as keys."),
            OpenApiParameter("subject", str, description="A part of it, in any case."),
            OpenApiParameter("from", datetime, description="Half-open; default: the first entry."),
            OpenApiParameter("to", datetime, description="Half-open; default: now."),
            OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 100."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        query = request.query_params
        asked = dict(parameters.filters(query, {"actor", "action", "subject", "cursor"}, {"from", "to", "limit"}))
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        cursor = asked.pop("cursor", "")
        wanted = Wanted(**asked, start=_instant(query, "from"), end=_instant(query, "to"))
        if wanted.start and wanted.end:
            parameters.require_order(wanted.start, wanted.end)
        after = position_after(cursor) if cursor else None
        with tenant(self.organization):
            page = find_entries(self.organization, wanted, limit=limit, after=after)
            sequence, digest = chain_head(self.organization)
        return Response(
            {
                "data": [entry_json(entry) for entry in page.entries],
                "next": cursor_of(page.following) if page.following else None,
                "head": {"sequence": sequence, "hash": digest.hex()},
            }
        )


def _instant(query: QueryDict, name: str) -> datetime | None:
    return parameters.instant(query, name, timezone.now()) if name in query else None
