from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from apps.accounts.models import User
from apps.portal.access import memberships_shown, organization_links


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Straight to the organization where there is one, else a choice."""
    assert isinstance(request.user, User)
    links = organization_links(memberships_shown(request))
    if len(links) == 1 and request.path == reverse("portal:home"):
        return redirect(links[0].url)
    may_make = settings.SIGNUP_OPEN or request.user.is_operator
    return render(request, "portal/organizations.html", {"organizations": links, "may_make": may_make})
