"""Pools of shared cost: what is shared, by what, from which month on; and what a change would come to."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Exact, Quoted, ScopedView, listing
from apps.core.money import usd_from_pico, usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.reports import allocation, pools
from apps.reports.chargeback import BASES, DRIVERS, METHODS, SOURCES, Share
from apps.reports.models_allocation import AllocationPool
from apps.reports.pool_terms import PoolTerms
from apps.reports.selectors import current_month
from apps.reports.statements import parse_month

MONTH = OpenApiParameter("month", str, description="YYYY-MM; default: this month.")
ENDS = OpenApiParameter("month", str, description="YYYY-MM: the first month without it; default: this month.")
TEXT: dict[str, Any] = {"max_length": 256, "required": False, "allow_null": True, "default": None}


class PoolInput(Exact):
    name = serializers.CharField(max_length=100)
    source = serializers.CharField(  # type: ignore[assignment]  # the contract's name
        max_length=32, help_text=f"What is shared: {', '.join(SOURCES)}."
    )
    method = serializers.CharField(max_length=32, help_text=f"The weight of a team: {', '.join(METHODS)}.")
    order = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="When it is taken; left out: last, or where it was."
    )
    amount_usd = Quoted(max_length=40, required=False, allow_null=True, default=None, help_text="A month.")
    team = serializers.CharField(**TEXT, help_text="The team whose statement is shared.")
    contract = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=2**62, help_text="A contract's id."
    )
    to_team = serializers.CharField(**TEXT, help_text="The team that bears it, with method direct.")
    driver = serializers.CharField(**TEXT, help_text=f"With method usage: {', '.join(DRIVERS)}.")
    base = serializers.CharField(**TEXT, help_text=f"With method proportional: {', '.join(BASES)}.")
    percents = serializers.DictField(
        child=Quoted(max_length=40),
        required=False,
        default=dict,
        help_text="With method fixed: percentages by team that add up to 100.",
    )
    capacity = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Of a throughput contract: units of the driver a month.",
    )


class PoolChangeInput(PoolInput):
    from_month = serializers.CharField(
        max_length=16, required=False, default=None, help_text="YYYY-MM: the first month so; default: this month."
    )


class PoolNewInput(PoolChangeInput):
    until_month = serializers.CharField(
        max_length=16,
        required=False,
        allow_null=True,
        default=None,
        help_text="YYYY-MM: the first month without it; null: no end.",
    )


class PoolMoveInput(Exact):
    direction = serializers.ChoiceField(choices=["up", "down"])
    from_month = serializers.CharField(max_length=16, required=False, default=None)


class PoolPreviewInput(Exact):
    month = serializers.CharField(max_length=16, required=False, default=None, help_text="YYYY-MM; default: this one.")
    replaces = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=2**62,
        help_text="The pool that `pool` takes the place of, or that ends.",
    )
    pool = PoolInput(required=False, allow_null=True, default=None)


class PoolOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    order = serializers.IntegerField()
    source = serializers.CharField()  # type: ignore[assignment]  # the contract's name
    method = serializers.CharField()
    amount_usd = serializers.CharField(allow_null=True)
    team = serializers.CharField(allow_null=True)
    contract = serializers.IntegerField(allow_null=True)
    to_team = serializers.CharField(allow_null=True)
    driver = serializers.CharField(allow_null=True)
    base = serializers.CharField(allow_null=True)
    percents = serializers.DictField(child=serializers.CharField())
    capacity = serializers.IntegerField(allow_null=True)
    from_month = serializers.CharField()
    until_month = serializers.CharField(allow_null=True)
    replaces = serializers.IntegerField(allow_null=True, help_text="The pool that this one followed.")
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()


class TeamChangeOutput(serializers.Serializer[Any]):
    team = serializers.CharField(allow_null=True)
    before_usd = serializers.CharField()
    after_usd = serializers.CharField()


class ShareOutput(serializers.Serializer[Any]):
    pool = serializers.IntegerField(allow_null=True, help_text="Null: the proposed one.")
    kind = serializers.CharField()
    team = serializers.CharField(allow_null=True)
    cost_usd = serializers.CharField()
    driver = serializers.CharField(help_text='By what, such as "tokens 1,200,000 of 4,000,000".')
    share = serializers.CharField(allow_null=True, help_text="Of the whole, 12 decimals at most.")


class PoolPreviewOutput(serializers.Serializer[Any]):
    month = serializers.CharField()
    teams = TeamChangeOutput(many=True)
    total = TeamChangeOutput()
    shares = ShareOutput(many=True)


class AllocationsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(
        operation_id="allocations_list",
        parameters=[MONTH],
        responses=listing(PoolOutput),
        description=f"The pools in force in a month, in their order; at most {pools.POOLS_MAX}.",
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        parameters.filters(request.query_params, (), {"month"})
        month = _month(self, request.query_params.get("month"))
        with tenant(self.organization):
            rows = allocation.rows_of(self.organization, month)
        return Response({"data": [pool_json(row) for row in rows], "next": None})

    @extend_schema(
        operation_id="allocations_create",
        request=PoolNewInput,
        responses={201: PoolOutput},
        description="Cost that is shared from a month on, which must be open.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PoolNewInput, request)
        until = given.pop("until_month")
        row = pools.create_pool(
            org=self.organization,
            from_month=_month(self, given.pop("from_month")),
            until_month=None if until is None else parse_month(until),
            terms=_terms(given),
            actor=self.principal,
        )
        return Response(pool_json(row), status=201)


class AllocationView(ScopedView):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(operation_id="allocations_get", responses=PoolOutput)
    def get(self, request: Request, pool_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            row = allocation.row_by_id(self.organization, pool_id)
        return Response(pool_json(row))

    @extend_schema(
        operation_id="allocations_change",
        request=PoolChangeInput,
        responses=PoolOutput,
        description="Another pool in its place from a month on; it has an id of its own. The months before stay.",
    )
    def put(self, request: Request, pool_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PoolChangeInput, request)
        row = pools.change_pool(
            org=self.organization,
            pool_id=pool_id,
            from_month=_month(self, given.pop("from_month")),
            terms=_terms(given),
            actor=self.principal,
        )
        return Response(pool_json(row))

    @extend_schema(
        operation_id="allocations_end",
        parameters=[ENDS],
        responses={204: None},
        description="Share nothing by it from a month on. The months before stay.",
    )
    def delete(self, request: Request, pool_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        parameters.filters(request.query_params, (), {"month"})
        month = _month(self, request.query_params.get("month"))
        pools.end_pool(org=self.organization, pool_id=pool_id, from_month=month, actor=self.principal)
        return Response(status=204)


class AllocationMoveView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="allocations_move",
        request=PoolMoveInput,
        responses=PoolOutput,
        description="One place earlier or later from a month on; at the end of the order the pool stays.",
    )
    def post(self, request: Request, pool_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PoolMoveInput, request)
        row = pools.move_pool(
            org=self.organization,
            pool_id=pool_id,
            up=given["direction"] == "up",
            from_month=_month(self, given["from_month"]),
            actor=self.principal,
        )
        return Response(pool_json(row))


class AllocationPreviewView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="allocations_preview",
        request=PoolPreviewInput,
        responses=PoolPreviewOutput,
        description="What a month comes to for each team as it is, and with `pool`: one more, or in the place of"
        " `replaces`. Without `pool`, what ending `replaces` would do. Changes nothing, in closed months neither.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PoolPreviewInput, request)
        org, month = self.organization, _month(self, given["month"])
        terms = None if given["pool"] is None else _terms(given["pool"])
        with tenant(org):
            proposed = pools.draft_pools(org, month, terms=terms, replaces=given["replaces"])
        looked = allocation.preview(org, month, proposed)
        return Response(
            {
                "month": f"{month:%Y-%m}",
                "teams": [{"team": team, **_change_json(change)} for team, change in looked.teams.items()],
                "total": {"team": None, **_change_json(looked.total)},
                "shares": [_share_json(share) for share in looked.shares],
            }
        )


def _month(view: ScopedView, text: str | None) -> Any:
    return current_month(view.organization, timezone.now()) if text is None else parse_month(text)


def _terms(given: dict[str, Any]) -> PoolTerms:
    return PoolTerms(**{name: value for name, value in given.items() if value is not None})


def _change_json(change: allocation.Change) -> dict[str, Any]:
    return {"before_usd": usd_text(change.before_usd), "after_usd": usd_text(change.after_usd)}


def _share_json(share: Share) -> dict[str, Any]:
    return {
        "pool": share.pool_id or None,
        "kind": share.kind,
        "team": share.team,
        "cost_usd": usd_text(usd_from_pico(share.pico)),
        "driver": share.driver_text,
        "share": share.share_text,
    }


def pool_json(row: AllocationPool) -> dict[str, Any]:
    return {
        "id": row.pk,
        "name": row.name,
        "order": row.position,
        "source": row.source,
        "method": row.method,
        "amount_usd": usd_text(row.amount_usd),
        "team": row.team or None,
        "contract": row.contract_id,
        "to_team": row.to_team or None,
        "driver": row.driver or None,
        "base": row.base or None,
        "percents": row.percents,
        "capacity": row.capacity,
        "from_month": f"{row.from_month:%Y-%m}",
        "until_month": None if row.until_month is None else f"{row.until_month:%Y-%m}",
        "replaces": row.replaces_id,
        "created_at": row.created_at,
        "created_by": row.created_by,
    }
