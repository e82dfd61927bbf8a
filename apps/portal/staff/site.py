from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from apps.accounts.models import User
from apps.core.errors import DomainError, NotFound
from apps.portal.access import staff_page
from apps.portal.pages_prices import FormError

SEARCH_LENGTH_MAX = 100
SELECTED_MAX = 100
# Sign-in, sign-out and passwords are allauth's, and nothing here is looked up for forms.
_NOT_OURS = {"login", "logout", "password_change", "password_change_done", "autocomplete", "view_on_site"}

V = TypeVar("V", bound=Callable[..., Any])


class StaffSite(admin.AdminSite):
    """Its doors are `staff_page`'s."""

    site_title = site_header = "FinOps for AI, staff"
    enable_nav_sidebar = False
    site_url = None

    def has_permission(self, request: HttpRequest) -> bool:
        return isinstance(request.user, User) and request.user.is_staff

    def admin_view(self, view: V, cacheable: bool = False) -> V:
        return cast("V", staff_page(view))

    def get_urls(self) -> list[Any]:
        return [one for one in super().get_urls() if getattr(one, "name", "") not in _NOT_OURS]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return HttpResponseRedirect(reverse("admin:organizations_organization_changelist"))

    def app_index(self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None) -> Any:
        return self.index(request)


class Shown(admin.ModelAdmin):  # type: ignore[type-arg]  # it takes no argument at run time
    """A list that is searched, and where `detail_template` is set a page of each: nothing is added, edited or deleted.

    `acts` are the last parts of the addresses to which a page's forms are sent; `act` does what they ask.
    """

    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    title = ""
    change_list_template = "admin/staff_list.html"
    detail_template = ""
    acts: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the filters beside the list ask: Django would let an address ask for any column."""
        return lookup.removesuffix("__exact") in self.list_filter

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return super().get_search_results(request, queryset, search_term[:SEARCH_LENGTH_MAX])

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        selected = request.POST.getlist("_selected_action")
        is_all = request.POST.get("select_across", "0") != "0"  # of everything that was found, on no page
        if is_all or len(selected) > SELECTED_MAX or not all(map(is_id, selected)):
            raise Http404
        return super().changelist_view(request, {"title": self.title, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        found = [path("", view(self.changelist_view), name=f"{name}_changelist")]
        if self.detail_template:
            found.append(path("<int:object_id>/change/", view(self.detail), name=f"{name}_change"))
            found.append(path("<int:object_id>/<slug:act>", view(self.act), name=f"{name}_act"))
        return found

    def detail(self, request: HttpRequest, object_id: int) -> HttpResponse:
        if request.method == "POST":
            raise Http404
        return self._answer(request, self._found(request, object_id))

    def act(self, request: HttpRequest, object_id: int, act: str) -> HttpResponse:
        """What a form of the page asks for. A rule that says no is shown on the page, with what was typed."""
        found = self._found(request, object_id)
        if request.method != "POST" or act not in self.acts:
            raise Http404
        try:
            return self.do(request, found, act)
        except NotFound:
            raise Http404 from None
        except DomainError as error:
            return self._answer(request, found, act, FormError.of(error))

    def do(self, request: HttpRequest, found: Any, act: str) -> HttpResponse:
        raise NotImplementedError

    def page_of(self, request: HttpRequest, found: Any, act: str, error: FormError | None) -> object:
        raise NotImplementedError

    def url_of(self, found: Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[found.pk])

    def _found(self, request: HttpRequest, object_id: int) -> Any:
        found = self.get_queryset(request).filter(pk=object_id).first() if object_id < 2**63 else None
        if found is None:
            raise Http404
        return found

    def _answer(self, request: HttpRequest, found: Any, act: str = "", error: FormError | None = None) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(found),
            "page": self.page_of(request, found, act, error),
        }
        return TemplateResponse(request, self.detail_template, context, status=400 if error else 200)


def operator_of(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def is_id(text: str) -> bool:
    """Whether the text is a number that a row may have."""
    return text.isascii() and text.isdecimal() and len(text) < 19


def typed(request: HttpRequest, field: str, length_max: int = 600) -> str:
    return str(request.POST.get(field, ""))[:length_max]
