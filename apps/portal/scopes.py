"""Fields of a form that say which calls are meant: one for each dimension, and pairs for tags."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from apps.budgets.rules import TAG
from apps.core.tenancy import tenant
from apps.organizations.selectors import list_keys
from apps.portal.access import Visit
from apps.portal.filters import label_of
from apps.portal.pages_budgets import ScopeField
from apps.teams.attribution import KINDS
from apps.teams.models import Named
from apps.teams.selectors import find_projects, find_teams, find_workflows

TAGS, TAGS_MAX = 2, 10
SUGGESTIONS_MAX = 500


def read_scope(given: Mapping[str, str], dimensions: Iterable[str]) -> dict[str, str]:
    """What a form says of the dimensions and tags; what it leaves empty is left out."""
    scope = {name: text for name in dimensions if (text := given.get(f"scope.{name}", "").strip(" "))}
    for number in range(TAGS_MAX):
        key, value = given.get(f"tag.{number}", "").strip(" "), given.get(f"tag_value.{number}", "").strip(" ")
        if key or value:
            scope[f"{TAG}{key}"] = value
    return scope


def given_of_scope(scope: Mapping[str, str]) -> dict[str, str]:
    """A stored scope as the form says it."""
    given = {f"scope.{name}": value for name, value in scope.items() if not name.startswith(TAG)}
    tags = [(name.removeprefix(TAG), value) for name, value in scope.items() if name.startswith(TAG)]
    for number, (key, value) in enumerate(tags):
        given |= {f"tag.{number}": key, f"tag_value.{number}": value}
    return given


def tag_fields(given: Mapping[str, str]) -> tuple[tuple[int, str, str], ...]:
    """(number, key, value) of each pair."""
    used = [n for n in range(TAGS_MAX) if given.get(f"tag.{n}") or given.get(f"tag_value.{n}")]
    shown = max(TAGS, *(n + 1 for n in used)) if used else TAGS
    return tuple((n, given.get(f"tag.{n}", ""), given.get(f"tag_value.{n}", "")) for n in range(shown))


def scope_fields(
    visit: Visit, given: Mapping[str, str], dimensions: Iterable[str], *, keys: tuple[tuple[str, str], ...] = ()
) -> tuple[ScopeField, ...]:
    """`keys` are choices of an API key beside any and each one."""
    dimensions = tuple(dimensions)
    known = known_slugs(visit, *(kind for kind in KINDS if kind in dimensions))
    with tenant(visit.org):
        own = [(str(key.pk), f"{key.name} ({key.hint})") for key in list_keys(visit.org)]

    def field(name: str) -> ScopeField:
        value = given.get(f"scope.{name}", "")
        if name != "api_key":
            return ScopeField(name, label_of(name), value, suggestions=known.get(name, ()))
        choices = (("", "any"), *keys, *own)
        return ScopeField(
            name, label_of(name), value, choices=choices if value in dict(choices) else (*choices, (value, value))
        )

    return tuple(field(name) for name in dimensions)


def known_slugs(visit: Visit, *kinds: str) -> dict[str, tuple[str, ...]]:
    """Slugs of these kinds (team, project, workflow), as many as a form suggests."""
    find: dict[str, Callable[..., Sequence[Named]]]
    find = {"team": find_teams, "project": find_projects, "workflow": find_workflows}
    with tenant(visit.org):
        return {kind: tuple(one.slug for one in find[kind](visit.org, limit=SUGGESTIONS_MAX)) for kind in kinds}
