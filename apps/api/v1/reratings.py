"""Re-ratings: preview what events of the past cost at other prices, post the difference, stop and resume."""

import uuid
from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import ScopedView, listing
from apps.core.money import EXACT, usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.usage import rerating
from apps.usage.models import Rerating, ReratingLine
from apps.usage.tasks import hint_rerate

LINES_SHOWN = 1_000


class ReratingInput(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=rerating.REASON_LENGTH_MAX)
    filters = serializers.DictField(
        child=serializers.CharField(max_length=256, allow_blank=True), required=False, default=dict
    )
    catalog_version = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="The newest, if left out."
    )

    def get_fields(self) -> dict[str, Any]:
        # "from" is a word of the language.
        return {"from": serializers.DateTimeField(), "to": serializers.DateTimeField(), **super().get_fields()}


class ReratingLineOutput(serializers.Serializer[Any]):
    team = serializers.CharField(allow_null=True)
    month = serializers.DateField()
    booked_month = serializers.DateField()
    provider = serializers.CharField()
    model = serializers.CharField()
    events = serializers.IntegerField()
    newly_priced = serializers.IntegerField()
    newly_unpriced = serializers.IntegerField()
    before_usd = serializers.CharField()
    after_usd = serializers.CharField()
    difference_usd = serializers.CharField()
    posted_events = serializers.IntegerField()
    posted_usd = serializers.CharField()


class ReratingTotalsOutput(serializers.Serializer[Any]):
    events = serializers.IntegerField()
    newly_priced = serializers.IntegerField()
    newly_unpriced = serializers.IntegerField()
    before_usd = serializers.CharField()
    after_usd = serializers.CharField()
    difference_usd = serializers.CharField()
    posted_events = serializers.IntegerField()
    posted_usd = serializers.CharField()


class ReratingOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="rerating_id")
    state = serializers.ChoiceField(choices=Rerating.State.choices)
    phase = serializers.CharField()
    reason = serializers.CharField()
    actor = serializers.CharField()
    created_at = serializers.DateTimeField()
    to = serializers.DateTimeField(source="end")
    filters = serializers.DictField(child=serializers.CharField(allow_blank=True))
    catalog_version = serializers.IntegerField()
    rule_set = serializers.IntegerField()
    expected = serializers.IntegerField(help_text="Events in scope when the phase began.")
    scanned = serializers.IntegerField(help_text="Events looked at so far.")
    posted_by = serializers.CharField(allow_null=True)
    posted_at = serializers.DateTimeField(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "from": serializers.DateTimeField(source="start")}


class ReratingDetailOutput(ReratingOutput):
    totals = ReratingTotalsOutput()
    lines = ReratingLineOutput(many=True)
    lines_left_off = serializers.IntegerField()


class ReratingsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="reratings_list", responses=listing(ReratingOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            found = list(rerating.list_reratings(self.organization)[:LINES_SHOWN])
        return Response({"data": ReratingOutput(found, many=True).data, "next": None})

    @extend_schema(
        operation_id="reratings_preview",
        request=ReratingInput,
        responses={201: ReratingDetailOutput},
        description="Begins a preview in the background. Nothing changes until it is posted.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(ReratingInput, request)
        started = rerating.start_preview(
            org=self.organization,
            actor=self.principal,
            reason=given["reason"],
            start=given["from"],
            end=given["to"],
            filters=given["filters"],
            catalog_version=given["catalog_version"],
        )
        hint_rerate(self.organization.pk)
        return Response(self.detail(started), status=201)

    def detail(self, found: Rerating) -> dict[str, Any]:
        return _detail(self.organization, found)


class ReratingView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="reratings_get", responses=ReratingDetailOutput)
    def get(self, request: Request, rerating_id: uuid.UUID) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            found = rerating.rerating_by_id(self.organization, rerating_id)
        return Response(_detail(self.organization, found))


class _ActView(ScopedView):
    scopes = {"POST": Scope.MANAGE}
    act: Callable[..., Rerating]

    def answer(self, rerating_id: uuid.UUID) -> Response:
        parameters.require_unpinned(self.principal)
        found = type(self).act(org=self.organization, rerating_id=rerating_id, actor=self.principal)
        hint_rerate(self.organization.pk)
        return Response(_detail(self.organization, found))


class ReratingPostView(_ActView):
    act = staticmethod(rerating.post)

    @extend_schema(operation_id="reratings_post", request=None, responses=ReratingDetailOutput)
    def post(self, request: Request, rerating_id: uuid.UUID) -> Response:
        return self.answer(rerating_id)


class ReratingStopView(_ActView):
    act = staticmethod(rerating.stop)

    @extend_schema(operation_id="reratings_stop", request=None, responses=ReratingDetailOutput)
    def post(self, request: Request, rerating_id: uuid.UUID) -> Response:
        return self.answer(rerating_id)


class ReratingResumeView(_ActView):
    act = staticmethod(rerating.resume)

    @extend_schema(operation_id="reratings_resume", request=None, responses=ReratingDetailOutput)
    def post(self, request: Request, rerating_id: uuid.UUID) -> Response:
        return self.answer(rerating_id)


def _detail(org: Any, found: Rerating) -> dict[str, Any]:
    with tenant(org):
        totals = rerating.totals_of(org, found.rerating_id)
        lines = list(rerating.lines_of(org, found.rerating_id)[: LINES_SHOWN + 1])
        count = len(lines) if len(lines) <= LINES_SHOWN else rerating.lines_of(org, found.rerating_id).count()
    return {
        **ReratingOutput(found).data,
        "totals": _amounts(totals, ReratingTotalsOutput),
        "lines": [_line(line) for line in lines[:LINES_SHOWN]],
        "lines_left_off": max(0, count - LINES_SHOWN),
    }


def _line(line: ReratingLine) -> dict[str, Any]:
    difference = EXACT.subtract(line.after_usd, line.before_usd)
    return {**_amounts(line, ReratingLineOutput), "difference_usd": usd_text(difference)}


def _amounts(source: Any, shape: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """The fields of a shape that the source has, amounts as text."""
    found = {name: getattr(source, name) for name in shape().get_fields() if hasattr(source, name)}
    return {name: usd_text(value) if name.endswith("_usd") else value for name, value in found.items()}
