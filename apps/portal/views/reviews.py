"""For operators of the installation: prices that wait for a person, and what was published when."""

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from apps.accounts.models import User
from apps.core.errors import DomainError, NotFound
from apps.core.meters import METERS
from apps.portal.access import operator_page
from apps.portal.pages_prices import FormError, ReviewsPage, VersionRow
from apps.portal.views.prices import review_of
from apps.pricing.models import CatalogVersion
from apps.pricing.reviews import CLOSED, decide, flags, open_flags
from apps.pricing.tasks import hint_decisions

ROWS = 100
OVERRIDABLE = (
    ("input_tokens", "Input"),
    ("cache_read_tokens", "Cache read"),
    ("cache_write_5m_tokens", "Cache write"),
    ("output_tokens", "Output"),
)


@operator_page
def reviews(request: HttpRequest, user: User) -> HttpResponse:
    error, flag = None, None
    given = {name: str(value) for name, value in request.POST.items()}
    if request.method == "POST":
        try:
            flag = int(given.get("flag", "")) if given.get("flag", "").isdecimal() else 0
            rates = {
                meter: given[f"rate.{meter}"].strip() for meter in METERS if given.get(f"rate.{meter}", "").strip()
            }
            decide(
                flag_id=flag,
                verdict=given.get("verdict", ""),
                actor=user.email,
                note=given.get("note", ""),
                rates=rates,
            )
            hint_decisions()
            return HttpResponseRedirect(reverse("portal:reviews"))
        except NotFound:
            raise Http404 from None
        except DomainError as wrong:
            error = FormError.of(wrong)
    page = ReviewsPage(
        user=user,
        open=tuple(review_of(found) for found in open_flags().order_by("-difference_percent")[:ROWS]),
        decided=tuple(review_of(found) for found in flags().filter(verdict__in=CLOSED)[:ROWS]),
        versions=tuple(
            VersionRow(v.id, v.source, v.source_version, v.loaded_at, v.models_added, v.prices_added)
            for v in CatalogVersion.objects.order_by("-id")[:20]
        ),
        error=error,
        flag=flag,
        given=given,
        meters=OVERRIDABLE,
    )
    return render(request, "portal/reviews.html", {"reviews": page}, status=400 if error else 200)
