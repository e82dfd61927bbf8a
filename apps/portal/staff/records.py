"""What staff did, as it was written down: only ever added to, and only looked at here."""

from django.contrib import admin

from apps.accounts.models import Impersonation, StaffAct
from apps.portal.staff.site import Shown
from apps.portal.templatetags.numbers import instant


class ImpersonationAdmin(Shown):
    title = "Looked as"
    list_display = ("began", "operator", "member", "organization", "reason", "until_when", "ended", "how")
    list_display_links = None
    list_select_related = ("operator", "member", "end")
    search_fields = ("operator__email", "member__email", "organization", "reason")
    search_help_text = "By operator, member, organization or reason."
    ordering = ("-began_at",)

    @admin.display(ordering="began_at")
    def began(self, row: Impersonation) -> str:
        return instant(row.began_at, "UTC")

    @admin.display(description="until", ordering="until")
    def until_when(self, row: Impersonation) -> str:
        return instant(row.until, "UTC")

    def ended(self, row: Impersonation) -> str:
        return instant(row.end.at, "UTC") if hasattr(row, "end") else "looks now"

    def how(self, row: Impersonation) -> str:
        return row.end.get_how_display() if hasattr(row, "end") else ""


class StaffActAdmin(Shown):
    title = "Acts of staff"
    list_display = ("when", "operator", "action", "subject", "reason")
    list_display_links = None
    list_select_related = ("operator",)
    search_fields = ("operator__email", "action", "subject", "reason")
    search_help_text = "By operator, act, subject or reason."
    ordering = ("-at",)

    @admin.display(ordering="at")
    def when(self, row: StaffAct) -> str:
        return instant(row.at, "UTC")
