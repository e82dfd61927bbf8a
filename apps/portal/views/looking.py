"""An operator who looks as a member looks as themself again."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from apps.portal.looking import stop_looking


@require_POST
@login_required
def looking_end(request: HttpRequest) -> HttpResponse:
    found = stop_looking(request)
    if found is None:
        return HttpResponseRedirect(reverse("portal:home"))
    messages.info(request, f"You no longer look as {found.member.email}.")
    return HttpResponseRedirect(
        reverse("admin:organizations_organization_change", args=[found.membership.organization_id])
    )
