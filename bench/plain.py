"""The yardstick of the decision road: what a plain REST framework view around the same statement would be.

It authenticates as every other view of the API, checks its fields with a serializer, and asks in `tenant()`. It knows
its budgets from the caller's answer before, so it does less than the real one.
"""

from typing import Any

import msgspec
from django.db import connection
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import ApiKeyAuthentication
from apps.api.views import ScopedView
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from bench.questions import template_for
from finops.urls import urlpatterns as site

_templates: dict[int, str] = {}


class PlainRequest(serializers.Serializer[Any]):
    request_id = serializers.CharField(max_length=128)
    provider = serializers.CharField(max_length=256)
    model = serializers.CharField(max_length=256)
    team = serializers.CharField(max_length=256, required=False)
    user = serializers.CharField(max_length=256, required=False)
    estimate_usd = serializers.DecimalField(max_digits=38, decimal_places=12)


class PlainDecision(ScopedView):
    scopes = {"post": Scope.DECIDE}
    authentication_classes = [ApiKeyAuthentication]

    def post(self, request: Request) -> Response:
        asked = PlainRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        fields = asked.validated_data
        org = self.organization
        if org.pk not in _templates:
            _templates[org.pk] = template_for(self.principal)
        question = _templates[org.pk].replace("REQUEST", fields["request_id"]).replace("USER", fields["user"])
        with tenant(org), connection.cursor() as cursor:
            cursor.execute("SELECT budgets_reserve(%s::jsonb)::text", [question])
            said = msgspec.json.decode(cursor.fetchone()[0])
        return Response(said["answer"])


urlpatterns = [path("plain/decisions", PlainDecision.as_view()), *site]
