"""Members and invitations. A key makes nobody an owner or an admin, and touches no owner."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Exact, ScopedView, listing
from apps.core.tenancy import tenant
from apps.organizations import members
from apps.organizations.invitation_mail import send_invitation
from apps.organizations.models import Invitation, Membership
from apps.organizations.permissions import Role, Scope
from apps.organizations.selectors import find_members, open_invitations

MEMBERS_LISTED = 1_000


class RoleInput(Exact):
    role = serializers.ChoiceField(choices=Role.choices)
    teams = serializers.ListField(child=serializers.CharField(max_length=256), required=False, default=list)


class InvitationInput(RoleInput):
    email = serializers.CharField(max_length=254)


class MemberOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name")
    role = serializers.CharField()
    teams = serializers.ListField(child=serializers.CharField(), help_text="Those of a lead; empty for other roles.")
    joined_at = serializers.DateTimeField()


class InvitationOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    email = serializers.EmailField()
    role = serializers.CharField()
    teams = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)


class SentInvitationOutput(InvitationOutput):
    mailed = serializers.BooleanField(help_text="Whether the mail server took the mail: if not, invite again later.")


class MembersView(ScopedView):
    scopes = {"GET": Scope.MANAGE}

    @extend_schema(
        operation_id="members_list",
        parameters=[OpenApiParameter("search", str, description="Part of an address or a name.")],
        responses=listing(MemberOutput),
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        search = parameters.filters(request.query_params, ("search",), ()).get("search", "")
        rows, _ = find_members(self.organization, search=search, limit=MEMBERS_LISTED)
        return Response({"data": MemberOutput(rows, many=True).data, "next": None})


class MemberView(ScopedView):
    scopes = {"PATCH": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(operation_id="members_change", request=RoleInput, responses=MemberOutput)
    def patch(self, request: Request, member_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(RoleInput, request)
        changed: Membership = members.change_role(
            org=self.organization, member_id=member_id, actor=self.principal, by_role=members.BY_KEY, **given
        )
        return Response(MemberOutput(changed).data)

    @extend_schema(operation_id="members_remove", responses={204: None})
    def delete(self, request: Request, member_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        members.remove_member(org=self.organization, member_id=member_id, actor=self.principal, by_role=members.BY_KEY)
        return Response(status=204)


class InvitationsView(ScopedView):
    scopes = {"GET": Scope.MANAGE, "POST": Scope.MANAGE}

    @extend_schema(operation_id="invitations_list", responses=listing(InvitationOutput))
    def get(self, request: Request) -> Response:
        """Those that are open: neither accepted nor revoked."""
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            rows = open_invitations(self.organization)
        return Response({"data": InvitationOutput(rows, many=True).data, "next": None})

    @extend_schema(operation_id="invitations_create", request=InvitationInput, responses={201: SentInvitationOutput})
    def post(self, request: Request) -> Response:
        """A mail with a link that works once, for seven days, for this address alone."""
        parameters.require_unpinned(self.principal)
        given = validated(InvitationInput, request)
        issued = members.invite(org=self.organization, actor=self.principal, by_role=members.BY_KEY, **given)
        mailed = send_invitation(self.organization, issued)
        return Response({**_json(issued.invitation), "mailed": mailed}, status=201)


class InvitationRevokeView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="invitations_revoke", request=None, responses=InvitationOutput)
    def post(self, request: Request, invitation_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        revoked = members.revoke_invitation(
            org=self.organization, invitation_id=invitation_id, actor=self.principal, by_role=members.BY_KEY
        )
        return Response(_json(revoked))


def _json(invitation: Invitation) -> dict[str, Any]:
    return dict(InvitationOutput(invitation).data)
