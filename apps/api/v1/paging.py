"""Pages of the lists of budgets, crossings and reservations."""

from drf_spectacular.utils import OpenApiParameter

from apps.budgets.selectors import PAGE_MAX, Page
from apps.core.cursors import cursor_of

PAGED = (
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 100."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
)


def next_of(page: Page) -> str | None:
    return None if page.following is None else cursor_of(page.following)
