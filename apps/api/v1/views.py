"""Views of the explorer. A key is nobody's: it sees and changes what is shared with the organization."""

from typing import Annotated, Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Meta
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Exact, ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.organizations.models import Organization
from apps.organizations.permissions import Scope
from apps.reports import views
from apps.reports.models import NAME_LENGTH_MAX, QUERY_LENGTH_MAX, View
from apps.reports.view_queries import read_query

PAGE_MAX, PAGE_DEFAULT = 200, 100
PAGED = [
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default {PAGE_DEFAULT}."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]
_Position = tuple[Annotated[str, Meta(pattern=r"^[^\x00]*$")], Annotated[int, Meta(ge=0, le=2**63 - 1)]]
QUERY: dict[str, Any] = {
    "max_length": QUERY_LENGTH_MAX,
    "allow_blank": True,
    "help_text": 'What the explorer\'s address says after its "?", such as group_by=model&team=search&range=7d.',
}
NAME: dict[str, Any] = {"max_length": NAME_LENGTH_MAX, "allow_blank": True}


class ViewInput(Exact):
    name = serializers.CharField(**NAME)
    query = serializers.CharField(**QUERY)


class ViewChange(Exact):
    name = serializers.CharField(required=False, **NAME)
    query = serializers.CharField(required=False, **QUERY)


class ViewOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    query = serializers.CharField(help_text="In the explorer's own spelling.")
    url = serializers.CharField(help_text="The page that shows it.")
    made_by = serializers.CharField(help_text='An address, or "key:" and a number.')
    created_at = serializers.DateTimeField()
    changed_at = serializers.DateTimeField()


class ViewsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(
        operation_id="views_list",
        parameters=PAGED,
        responses=listing(ViewOutput),
        description="Those that are shared, by name. A pinned key gets those that are filtered by all its pins.",
    )
    def get(self, request: Request) -> Response:
        parameters.filters(request.query_params, (), ("limit", "cursor"))
        limit = parameters.integer(request.query_params, "limit", PAGE_DEFAULT, minimum=1, maximum=PAGE_MAX)
        cursor = request.query_params.get("cursor")
        after: tuple[str, int] = position_of(cursor, _Position) if cursor else ("", 0)
        within = parameters.within_pins(self.principal, {})
        found = views.find_shared(self.organization, within=within, after=after, limit=limit + 1)
        shown = found[:limit]
        following = cursor_of((shown[-1].name, shown[-1].pk)) if len(found) > limit else None
        return Response({"data": [_json(self.organization, view) for view in shown], "next": following})

    @extend_schema(
        operation_id="views_create",
        request=ViewInput,
        responses={201: ViewOutput},
        description="It is shared with the organization.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(ViewInput, request)
        view = views.save_view(
            org=self.organization,
            actor=self.principal,
            name=given["name"],
            query=read_query(given["query"]),
            is_shared=True,
        )
        return Response(_json(self.organization, view), status=201)


class ViewView(ScopedView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(operation_id="views_get", responses=ViewOutput)
    def get(self, request: Request, view_id: int) -> Response:
        within = parameters.within_pins(self.principal, {})
        return Response(_json(self.organization, views.shared_view(self.organization, view_id, within=within)))

    @extend_schema(
        operation_id="views_change",
        request=ViewChange,
        responses=ViewOutput,
        description="Another name, another query; what is left out stays.",
    )
    def patch(self, request: Request, view_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(ViewChange, request)
        if not given:
            raise DomainError("nothing_to_change", "Send a name, a query or both.")
        if "query" in given:
            given["query"] = read_query(given["query"])
        view = views.change_view(org=self.organization, view_id=view_id, actor=self.principal, may_manage=True, **given)
        return Response(_json(self.organization, view))

    @extend_schema(operation_id="views_delete", responses={204: None})
    def delete(self, request: Request, view_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        views.delete_view(org=self.organization, view_id=view_id, actor=self.principal, may_manage=True)
        return Response(status=204)


def _json(org: Organization, view: View) -> dict[str, Any]:
    page = reverse("portal:spend", args=[org.slug])
    return {
        "id": view.pk,
        "name": view.name,
        "query": view.query,
        "url": f"{settings.BASE_URL}{page}?{view.query}",
        "made_by": view.made_by,
        "created_at": view.created_at,
        "changed_at": view.changed_at,
    }
