"""Alerts: the channels that people are told by, and the log of deliveries."""

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.alerts import channels, selectors, services
from apps.alerts.models import Channel, Delivery
from apps.alerts.senders import webhook_id
from apps.alerts.tasks import hint_tell
from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import ScopedView, listing
from apps.core.cursors import cursor_of
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope

DELIVERIES_PAGE_MAX = 200
CHANNEL_ID_DIGITS_MAX = 18
STATE = OpenApiParameter("state", str, enum=Delivery.State.values, description="Only deliveries in this state.")
CHANNEL = OpenApiParameter("channel", int, description="Only deliveries to this channel.")
LIMIT = OpenApiParameter("limit", int, description=f"1 to {DELIVERIES_PAGE_MAX}, default 50.")
CURSOR = OpenApiParameter("cursor", str, description="`next` of the page before.")
TIME: dict[str, Any] = {"required": False, "allow_null": True, "format": "%H:%M", "input_formats": ["%H:%M"]}


class _Settings(serializers.Serializer[Any]):
    team = serializers.CharField(max_length=256, required=False, allow_null=True, help_text="Null: of every team.")
    min_severity = serializers.CharField(max_length=10, required=False, help_text="info, warning or critical.")
    quiet_from = serializers.TimeField(**TIME, help_text="Local, as 22:00. Critical messages come through.")
    quiet_until = serializers.TimeField(**TIME)
    digest = serializers.CharField(max_length=10, required=False, help_text="none, hourly or daily.")


class ChannelInput(_Settings):
    kind = serializers.CharField(max_length=10, help_text="email, webhook or chat.")
    name = serializers.CharField(max_length=100)
    target = serializers.CharField(
        max_length=8000, help_text="Mail addresses with commas between them, the URL of a webhook, or of a chat room."
    )


class ChannelChange(_Settings):
    name = serializers.CharField(max_length=100, required=False)
    target = serializers.CharField(max_length=8000, required=False)


class ChannelOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    name = serializers.CharField()
    target = serializers.CharField(help_text="Shortened, so that it gives no secret away.")
    team = serializers.CharField(allow_null=True)
    min_severity = serializers.CharField()
    quiet_from = serializers.CharField(allow_null=True)
    quiet_until = serializers.CharField(allow_null=True)
    digest = serializers.CharField()
    state = serializers.CharField()
    disabled_reason = serializers.CharField(allow_null=True)
    previous_secret_until = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()


class ChannelSecretOutput(ChannelOutput):
    secret = serializers.CharField(allow_null=True, help_text="Of a webhook, shown this once.")


class RefusalOutput(serializers.Serializer[Any]):
    address = serializers.CharField()
    status = serializers.IntegerField(help_text="The mail server's reply.")
    answer = serializers.CharField()
    is_permanent = serializers.BooleanField(help_text="It is not tried again for this address.")


class TryOutput(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    status = serializers.IntegerField(allow_null=True)
    error = serializers.CharField()
    milliseconds = serializers.IntegerField()
    answer = serializers.CharField(help_text="The beginning of what the receiver answered.")
    accepted = serializers.IntegerField(help_text="Of a mail: addresses that the server took.")
    refused = RefusalOutput(many=True)


class DeliveryOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    channel = serializers.IntegerField()
    crossing_id = serializers.UUIDField()
    kind = serializers.CharField()
    severity = serializers.CharField()
    title = serializers.CharField()
    state = serializers.CharField()
    message_id = serializers.CharField(help_text="The webhook-id; the same in every try.")
    is_repeat = serializers.BooleanField(help_text="An earlier try may have arrived.")
    tries = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(allow_null=True)
    log = TryOutput(many=True)


class ChannelsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="alert_channels_list", responses=listing(ChannelOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            found = list(selectors.list_channels(self.organization))
        return Response({"data": [channel_json(channel) for channel in found], "next": None})

    @extend_schema(
        operation_id="alert_channels_create",
        request=ChannelInput,
        responses={201: ChannelSecretOutput},
        description="It is told of what crosses from now on. A webhook's secret is in this answer and in no other.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(ChannelInput, request)
        made = channels.create_channel(org=self.organization, actor=self.principal, **given)
        return Response({**channel_json(made), "secret": channels.secret_of(made) or None}, status=201)


class ChannelView(ScopedView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(operation_id="alert_channels_get", responses=ChannelOutput)
    def get(self, request: Request, channel_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            channel = selectors.channel_by_id(self.organization, channel_id)
        return Response(channel_json(channel))

    @extend_schema(operation_id="alert_channels_change", request=ChannelChange, responses=ChannelOutput)
    def patch(self, request: Request, channel_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        fields = validated(ChannelChange, request)
        channel = channels.change_channel(
            org=self.organization, channel_id=channel_id, actor=self.principal, fields=fields
        )
        return Response(channel_json(channel))

    @extend_schema(operation_id="alert_channels_delete", responses={204: None})
    def delete(self, request: Request, channel_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        channels.delete_channel(org=self.organization, channel_id=channel_id, actor=self.principal)
        return Response(status=204)


class ChannelTestView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="alert_channels_test",
        request=None,
        responses={202: DeliveryOutput},
        description="Sends a message that says it is a test. What became of it is in the log of deliveries.",
    )
    def post(self, request: Request, channel_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        made = channels.send_test(org=self.organization, channel_id=channel_id, actor=self.principal)
        hint_tell(self.organization.pk)
        return Response(delivery_json(made), status=202)


class ChannelRotateView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="alert_channels_rotate",
        request=None,
        responses=ChannelSecretOutput,
        description=f"A new secret, shown once. The one before signs beside it for {channels.ROTATION_HOURS} hours.",
    )
    def post(self, request: Request, channel_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        channel = channels.rotate_secret(org=self.organization, channel_id=channel_id, actor=self.principal)
        return Response({**channel_json(channel), "secret": channels.secret_of(channel)})


class ChannelStateView(ScopedView):
    scopes = {"POST": Scope.MANAGE}
    active = True

    @extend_schema(operation_id="alert_channels_enable", request=None, responses=ChannelOutput)
    def post(self, request: Request, channel_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        channel = channels.set_active(
            org=self.organization, channel_id=channel_id, actor=self.principal, active=self.active
        )
        return Response(channel_json(channel))


class ChannelDisableView(ChannelStateView):
    active = False

    @extend_schema(operation_id="alert_channels_disable", request=None, responses=ChannelOutput)
    def post(self, request: Request, channel_id: int) -> Response:
        return super().post(request, channel_id)


class DeliveriesView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="alert_deliveries_list",
        parameters=[STATE, CHANNEL, LIMIT, CURSOR],
        responses=listing(DeliveryOutput),
        description="Newest first.",
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        query = request.query_params
        asked = parameters.filters(query, {"state", "channel"}, {"limit", "cursor"})
        limit = parameters.integer(query, "limit", 50, minimum=1, maximum=DELIVERIES_PAGE_MAX)
        channel_id = _channel_id(asked["channel"]) if "channel" in asked else None
        cursor = query.get("cursor")
        with tenant(self.organization):
            found = selectors.find_deliveries(
                self.organization,
                state=asked.get("state", ""),
                channel_id=channel_id,
                limit=limit + 1,
                after=selectors.position_after(cursor) if cursor else None,
            )
        page = found[:limit]
        following = cursor_of((page[-1].created_at, page[-1].delivery_id)) if len(found) > limit else None
        return Response({"data": [delivery_json(one) for one in page], "next": following})


class DeliveryView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="alert_deliveries_get", responses=DeliveryOutput)
    def get(self, request: Request, delivery_id: UUID) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            found = selectors.delivery_by_id(self.organization, delivery_id)
        return Response(delivery_json(found))


class DeliveryRetryView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="alert_deliveries_retry", request=None, responses={202: DeliveryOutput})
    def post(self, request: Request, delivery_id: UUID) -> Response:
        parameters.require_unpinned(self.principal)
        found = services.retry(org=self.organization, delivery_id=delivery_id, actor=self.principal)
        hint_tell(self.organization.pk)
        return Response(delivery_json(found), status=202)


def _channel_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= CHANNEL_ID_DIGITS_MAX):
        raise DomainError("parameter_invalid", f"channel is '{text[:64]}': write the id of a channel.", param="channel")
    return int(text)


def channel_json(channel: Channel) -> dict[str, Any]:
    rotating = channel.previous_until is not None and channel.previous_until > timezone.now()
    return {
        "id": channel.pk,
        "kind": channel.kind,
        "name": channel.name,
        "target": channel.hint,
        "team": channel.team.slug if channel.team else None,
        "min_severity": channel.min_severity,
        "quiet_from": f"{channel.quiet_from:%H:%M}" if channel.quiet_from else None,
        "quiet_until": f"{channel.quiet_until:%H:%M}" if channel.quiet_until else None,
        "digest": channel.digest,
        "state": channel.state,
        "disabled_reason": channel.disabled_reason or None,
        "previous_secret_until": channel.previous_until if rotating else None,
        "created_at": channel.created_at,
        "created_by": channel.created_by,
    }


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.delivery_id,
        "channel": delivery.channel_id,
        "crossing_id": delivery.crossing_id,
        "kind": delivery.kind,
        "severity": delivery.severity,
        "title": delivery.title,
        "state": delivery.state,
        "message_id": webhook_id(delivery.message_id),
        "is_repeat": delivery.is_repeat,
        "tries": delivery.tries,
        "created_at": delivery.created_at,
        "next_attempt_at": delivery.next_attempt_at,
        "sent_at": delivery.sent_at,
        "error": delivery.error or None,
        "log": delivery.log,
    }
