"""Statements by mail: what is sent, to whom, and what became of each mail."""

from typing import Annotated, Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Meta
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.alerts import mail_rounds, mail_terms
from apps.alerts.mail_rounds import PAGE_MAX
from apps.alerts.mail_terms import RECIPIENTS_MAX, Audience
from apps.alerts.models_statement_mail import HOURS_AFTER_MAX, PREVIEW_DAYS_MAX, Kind, Recipient, StatementMail
from apps.alerts.tasks import hint_mail
from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Exact, ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.organizations.selectors import leads_of
from apps.reports.statements import parse_month

_Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
LIMIT = OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 50.")
CURSOR = OpenApiParameter("cursor", str, description="`next` of the page before.")
STATE = OpenApiParameter("state", str, enum=StatementMail.State.values, description="Only mails in this state.")
MONTH = OpenApiParameter("month", str, description="Only mails about YYYY-MM.")


# --- settings -------------------------------------------------------------------------------------------


class MailTermsInput(Exact):
    monthly = serializers.BooleanField(
        required=False, default=False, help_text="Mail statements once their month is final."
    )
    hours_after = serializers.IntegerField(
        required=False, default=0, help_text=f"0 to {HOURS_AFTER_MAX}, after the month became final."
    )
    weekly = serializers.BooleanField(required=False, default=False, help_text="A digest of the month so far.")
    weekly_day = serializers.IntegerField(required=False, default=0, help_text="0 is Monday, 6 is Sunday.")
    weekly_hour = serializers.IntegerField(required=False, default=8, help_text="0 to 23, in the organization's zone.")
    preview = serializers.BooleanField(required=False, default=False, help_text="A preview before the month ends.")
    preview_days = serializers.IntegerField(
        required=False, default=3, help_text=f"1 to {PREVIEW_DAYS_MAX} days before its end, at 8:00."
    )


class MailTermsOutput(serializers.Serializer[Any]):
    monthly = serializers.BooleanField()
    hours_after = serializers.IntegerField()
    weekly = serializers.BooleanField()
    weekly_day = serializers.IntegerField()
    weekly_hour = serializers.IntegerField()
    preview = serializers.BooleanField()
    preview_days = serializers.IntegerField()


class MailTermsView(ScopedView):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE}

    @extend_schema(operation_id="statement_mail_get", responses=MailTermsOutput)
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            return Response(MailTermsOutput(mail_terms.terms_of(self.organization)).data)

    @extend_schema(
        operation_id="statement_mail_put",
        request=MailTermsInput,
        responses=MailTermsOutput,
        description="What is left out is as by default: off. Of months that are final already nobody is told.",
    )
    def put(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(MailTermsInput, request)
        terms = mail_terms.change_terms(org=self.organization, actor=self.principal, **given)
        return Response(MailTermsOutput(terms).data)


# --- recipients -----------------------------------------------------------------------------------------


class RecipientInput(Exact):
    address = serializers.CharField(max_length=320)
    covers = serializers.CharField(max_length=16, help_text=", ".join(Recipient.Covers.values))
    team = serializers.CharField(
        max_length=256, required=False, allow_null=True, default=None, help_text="Where covers is team."
    )
    is_off = serializers.BooleanField(
        required=False, default=False, help_text="A lead of the team does not get its statement."
    )


class RecipientOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField(allow_null=True, help_text="Null: a lead, who gets it unasked.")
    address = serializers.CharField()
    covers = serializers.CharField()
    team = serializers.CharField(allow_null=True)
    is_off = serializers.BooleanField()
    is_member = serializers.BooleanField(help_text="Links in a mail ask whoever is none to sign in.")
    bounce = serializers.CharField(allow_null=True, help_text="Why nothing is sent to it until it is confirmed.")


class ConfirmInput(Exact):
    address = serializers.CharField(max_length=320)


class RecipientsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(
        operation_id="statement_recipients_list",
        responses=listing(RecipientOutput),
        description=f"The leads of teams, and at most {RECIPIENTS_MAX} entered addresses, by address.",
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        return Response({"data": self._listed(), "next": None})

    @extend_schema(operation_id="statement_recipients_add", request=RecipientInput, responses={201: RecipientOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(RecipientInput, request)
        row = mail_terms.add_recipient(org=self.organization, actor=self.principal, **given)
        with tenant(self.organization):
            audience = mail_terms.audience_of(self.organization, row.address)
        return Response(_shown(row, audience), status=201)

    def _listed(self) -> list[dict[str, Any]]:
        org = self.organization
        # One snapshot: others add and take away meanwhile.
        with tenant(org, repeatable_read=True):
            audiences, rows, leads = mail_terms.audiences(org), mail_terms.recipients(org), leads_of(org)
        named = {(row.address, row.team) for row in rows}
        unasked = [
            Recipient(address=address, covers=Recipient.Covers.TEAM, team=team)
            for address, teams in leads.items()
            for team in teams
            if (address, team) not in named
        ]
        found = [_shown(row, audiences[row.address]) for row in (*rows, *unasked)]
        return sorted(found, key=lambda one: (str(one["address"]), str(one["covers"]), str(one["team"])))


def _shown(row: Recipient, audience: Audience) -> dict[str, Any]:
    bounce = audience.mailbox.bounce if audience.mailbox is not None and audience.has_bounced else None
    return {
        "id": row.pk,
        "address": row.address,
        "covers": row.covers,
        "team": row.team,
        "is_off": row.is_off,
        "is_member": audience.is_member,
        "bounce": bounce,
    }


class RecipientView(ScopedView):
    scopes = {"DELETE": Scope.MANAGE}

    @extend_schema(operation_id="statement_recipients_remove", responses={204: None})
    def delete(self, request: Request, recipient_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        mail_terms.remove_recipient(org=self.organization, recipient_id=recipient_id, actor=self.principal)
        return Response(status=204)


class AddressConfirmView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="statement_recipients_confirm",
        request=ConfirmInput,
        responses={204: None},
        description="An address that bounced is good again: it is sent to from now on.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        address = validated(ConfirmInput, request)["address"]
        mail_terms.confirm_address(org=self.organization, address=address, actor=self.principal)
        return Response(status=204)


# --- mails ----------------------------------------------------------------------------------------------


class AttemptOutput(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    attempt = serializers.IntegerField()
    state = serializers.CharField(
        help_text="As of a mail; of a notification: bounced, delayed, delivered, relayed or expanded."
    )
    status = serializers.IntegerField(allow_null=True, help_text="The mail server's reply.")
    reply = serializers.CharField()
    by = serializers.CharField(help_text="Who asked for the attempt; empty: nobody.")


class StatementMailOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=Kind.values)
    period = serializers.DateField(help_text="The month's first day; of a weekly digest, the first day it is about.")
    address = serializers.CharField()
    state = serializers.ChoiceField(choices=StatementMail.State.values)
    made_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField(allow_null=True, help_text="The next try.")
    attempts = serializers.IntegerField()
    sent_at = serializers.DateTimeField(allow_null=True)
    status = serializers.IntegerField(allow_null=True)
    reply = serializers.CharField()
    bounced_at = serializers.DateTimeField(allow_null=True)
    log = AttemptOutput(many=True, help_text="The latest attempts, oldest first.")


class MailsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="statement_mails_list",
        parameters=[STATE, MONTH, LIMIT, CURSOR],
        responses=listing(StatementMailOutput),
        description="Newest first.",
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        query = request.query_params
        asked = parameters.filters(query, {"state", "month"}, {"limit", "cursor"})
        limit = parameters.integer(query, "limit", 50, minimum=1, maximum=PAGE_MAX)
        cursor = query.get("cursor")
        with tenant(self.organization):
            found = mail_rounds.find_mails(
                self.organization,
                limit=limit + 1,
                state=asked.get("state", ""),
                month=parse_month(asked["month"]) if "month" in asked else None,
                after=position_of(cursor, _Id) if cursor else None,
            )
        following = cursor_of(found[limit - 1].pk) if len(found) > limit else None
        return Response({"data": [StatementMailOutput(mail).data for mail in found[:limit]], "next": following})


class MailResendView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="statement_mails_resend",
        request=None,
        responses={202: StatementMailOutput},
        description="One more attempt, with a Message-ID of its own; the mail says that it was sent again.",
    )
    def post(self, request: Request, mail_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        mail = mail_rounds.resend(org=self.organization, mail_id=mail_id, actor=self.principal)
        hint_mail(self.organization.pk)
        return Response(StatementMailOutput(mail).data, status=202)
