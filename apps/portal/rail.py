"""The rail: every place that a person may go to in an organization, and what each is called."""

from dataclasses import dataclass
from functools import cache

from django.urls import resolve, reverse

from apps.organizations.permissions import Permission

# Title, then (name of the page, label, the key after g).
GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "",
        (
            ("overview", "Overview", "o"),
            ("spend", "Explorer", "e"),
            ("forecast", "Forecast", "0"),
            ("runs", "Runs", "t"),
            ("events", "Events", "v"),
            ("statements", "Statements", "s"),
        ),
    ),
    (
        "Control",
        (
            ("signals", "Signals", "1"),
            ("budgets", "Budgets", "b"),
            ("plans", "Plans", "g"),
            ("reservations", "Reservations", "h"),
            ("bounds", "Run bounds", "n"),
            ("stop", "Emergency stop", "x"),
            ("savings", "Savings", "g"),
            ("alerts", "Alerts", "l"),
        ),
    ),
    (
        "To settle",
        (("unattributed", "Unattributed", "u"), ("unpriced", "Unpriced", "p"), ("declared", "Declared costs", "d")),
    ),
    (
        "Organization",
        (
            ("teams", "Teams", "f"),
            ("projects", "Projects", "j"),
            ("workflows", "Workflows", "w"),
            ("rules", "Attribution rules", "i"),
        ),
    ),
    ("Prices", (("prices", "Catalog", "c"), ("contracts", "Contracts", "a"), ("reratings", "Re-rating", "r"))),
    (
        "Settings",
        (
            ("members", "Members", "m"),
            ("keys", "API keys", "k"),
            ("organization", "Organization", "z"),
            ("single_sign_on", "Single sign-on", "q"),
            ("audit", "Audit log", "y"),
        ),
    ),
)
# Groups that are folded until one is in them: a screen holds what is used every day.
FOLDED = frozenset({"Organization", "Prices", "Settings"})
# Pages beside the one that a section is called by, shown above each of them.
TABS: dict[str, tuple[tuple[str, str], ...]] = {
    "statements": (
        ("statements", "Statements"),
        ("allocations", "Shared cost"),
        ("invoices", "Bills"),
        ("disputes", "Disputes"),
        ("adjustments", "Adjustments"),
        ("statement_mail", "Mail"),
        ("chargeback", "Currency and closing"),
    ),
}
LABELS = {name: label for _, entries in GROUPS for name, label, _ in entries}


@dataclass(frozen=True, slots=True)
class Tab:
    label: str
    url: str
    active: bool


@dataclass(frozen=True, slots=True)
class RailLink:
    name: str
    label: str
    key: str
    url: str
    is_here: bool


@dataclass(frozen=True, slots=True)
class RailGroup:
    """`is_open` is None where the group cannot be folded."""

    title: str
    links: tuple[RailLink, ...]
    is_open: bool | None


def rail_of(slug: str, section: str, permissions: frozenset[Permission], is_lead: bool) -> tuple[RailGroup, ...]:
    """What somebody with these permissions may open; of a lead, what is cut to a team."""
    groups = []
    for title, entries in GROUPS:
        links = tuple(
            RailLink(name, label, key, reverse(f"portal:{name}", args=[slug]), name == section)
            for name, label, key in entries
            if may_open(name, permissions, is_lead)
        )
        if links:
            folds = title in FOLDED
            groups.append(RailGroup(title, links, any(link.is_here for link in links) if folds else None))
    return tuple(groups)


def tabs_of(slug: str, section: str, here: str, permissions: frozenset[Permission], is_lead: bool) -> tuple[Tab, ...]:
    """The pages beside the one named `here`, itself among them; none where it stands alone."""
    entries = TABS.get(section, ())
    if here not in dict(entries):
        return ()
    tabs = tuple(
        Tab(label, reverse(f"portal:{name}", args=[slug]), name == here)
        for name, label in entries
        if may_open(name, permissions, is_lead)
    )
    return tabs if len(tabs) > 1 else ()


def may_open(name: str, permissions: frozenset[Permission], is_lead: bool) -> bool:
    """Whether somebody with these permissions sees the page of this name."""
    permission, within_team = _asks(name)
    return permission in permissions and (within_team or not is_lead)


@cache
def _asks(name: str) -> tuple[Permission, bool]:
    """What the page's view declares."""
    view = resolve(reverse(f"portal:{name}", args=["any"])).func
    return view.permission, view.within_team  # type: ignore[attr-defined]  # set by organization_page
