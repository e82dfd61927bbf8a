from django.urls import include, path

from apps.api import health
from apps.portal.staff import staff
from finops.metrics import metrics

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("api/v1/", include("apps.api.urls")),
    path("accounts/", include("apps.portal.account_urls")),
    path("accounts/", include("allauth.urls")),
    path("staff/", staff.urls),
    path("", include("apps.portal.urls")),
]

handler400 = "apps.portal.errors.bad_request"
handler429 = "apps.portal.errors.too_many"
handler403 = "apps.portal.errors.forbidden"
handler404 = "apps.portal.errors.not_found"
handler500 = "apps.portal.errors.server_error"
