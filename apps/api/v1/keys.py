"""API keys: list, issue, revoke. A key never grants more than it holds."""

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.v1.names import validated
from apps.api.views import ScopedView, listing
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations import selectors, services
from apps.organizations.models import ApiKey
from apps.organizations.permissions import Scope
from apps.organizations.selectors import PINS, Principal


class KeyInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=serializers.CharField(max_length=20), min_length=1, max_length=10)
    team = serializers.CharField(max_length=256, required=False, allow_null=True, default=None)
    project = serializers.CharField(max_length=256, required=False, allow_null=True, default=None)
    environment = serializers.CharField(max_length=256, required=False, allow_null=True, default=None)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class RotationInput(serializers.Serializer[Any]):
    overlap_seconds = serializers.IntegerField(min_value=0, max_value=30 * 86_400, default=86_400)


class KeyOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    hint = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    team = serializers.CharField(allow_null=True)
    project = serializers.CharField(allow_null=True)
    environment = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)


class IssuedKeyOutput(KeyOutput):
    secret = serializers.CharField(help_text="Shown this once.")


class KeysView(ScopedView):
    scopes = {"GET": Scope.MANAGE, "POST": Scope.MANAGE}

    @extend_schema(operation_id="keys_list", responses=listing(KeyOutput))
    def get(self, request: Request) -> Response:
        with tenant(self.organization):
            keys = [key for key in selectors.list_keys(self.organization) if _is_within(key, self.principal)]
        return Response({"data": KeyOutput(keys, many=True).data, "next": None})

    @extend_schema(operation_id="keys_create", request=KeyInput, responses={201: IssuedKeyOutput})
    def post(self, request: Request) -> Response:
        given = validated(KeyInput, request)
        _refuse_more_than_held(self.principal, given)
        issued = services.issue_key(org=self.organization, actor=self.principal, **given)
        return Response({**KeyOutput(issued.key).data, "secret": issued.secret}, status=201)


class KeyRotateView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="keys_rotate", request=RotationInput, responses={201: IssuedKeyOutput})
    def post(self, request: Request, key_id: int) -> Response:
        """A new key that may what the old one may; the old one works on for `overlap_seconds`."""
        old = _key_within(self.principal, key_id)
        _refuse_more_than_held(self.principal, {"scopes": old.scopes, **{pin: getattr(old, pin) for pin in PINS}})
        overlap = timedelta(seconds=validated(RotationInput, request)["overlap_seconds"])
        issued, _ = services.rotate_key(
            org=self.organization,
            key_id=key_id,
            overlap=overlap,
            expires_no_later=self.principal.expires_at,
            actor=self.principal,
        )
        return Response({**KeyOutput(issued.key).data, "secret": issued.secret}, status=201)


class KeyRevokeView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="keys_revoke", request=None, responses=KeyOutput)
    def post(self, request: Request, key_id: int) -> Response:
        _key_within(self.principal, key_id)
        key = services.revoke_key(org=self.organization, key_id=key_id, actor=self.principal)
        return Response(KeyOutput(key).data)


def _key_within(holder: Principal, key_id: int) -> ApiKey:
    with tenant(holder.organization):
        key = selectors.key_by_id(holder.organization, key_id)
    if key is None or not _is_within(key, holder):
        raise NotFound("API key")
    return key


def _is_within(key: ApiKey, holder: Principal) -> bool:
    """Whether a key stands for no more than the holder's pins do."""
    return all(getattr(holder, pin) in (None, getattr(key, pin)) for pin in PINS)


def _refuse_more_than_held(holder: Principal, given: dict[str, Any]) -> None:
    if beyond := sorted(set(given["scopes"]) & set(Scope) - holder.scopes):
        raise DomainError(
            "scope_beyond_own",
            f"The key '{holder.key_name}' does not hold {', '.join(beyond)} and cannot give it: use a key that does.",
            param="scopes",
        )
    if (
        "expires_at" in given
        and holder.expires_at is not None
        and (given["expires_at"] is None or given["expires_at"] > holder.expires_at)
    ):
        raise DomainError(
            "expiry_beyond_own",
            f"The key '{holder.key_name}' expires at {holder.expires_at.isoformat()}; the keys it issues need an"
            " expires_at no later.",
            param="expires_at",
        )
    for pin in PINS:
        held = getattr(holder, pin)
        if held is not None and given[pin] != held:
            raise DomainError(
                "pin_beyond_own",
                f"The key '{holder.key_name}' belongs to {pin} '{held}'; the keys it issues need the same {pin}.",
                param=pin,
            )
