from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.teams.attribution import Attribution, Names, Owned, attribute, owner_at

EVER = datetime.min.replace(tzinfo=UTC)
MOVED = datetime(2026, 10, 1, tzinfo=UTC)
BEFORE, AFTER = MOVED - timedelta(microseconds=1), MOVED

# "chat" moved from search to support on the first of October; "batch" has no owner.
NAMES = Names(
    teams={"search": 1, "support": 2},
    projects={"chat": 11, "batch": 12, "search": 13},
    workflows={"rag": 21, "nightly": 22},
    owners={
        "chat": (Owned(EVER, MOVED, "search"), Owned(MOVED, None, "support")),
        "search": (Owned(MOVED, None, "search"),),
    },
    project_of={"rag": "chat", "nightly": "batch"},
    aliases={("team", "suche"): "search", ("project", "plauderei"): "chat", ("workflow", "rag-v2"): "rag"},
)
NO_ALIASES = Names(NAMES.teams, NAMES.projects, NAMES.workflows, NAMES.owners, NAMES.project_of)


@pytest.mark.parametrize(
    ("said", "at", "expected"),
    [
        # Nothing said, nothing known.
        ((None, None, None), AFTER, (None, None, None, None, None, None)),
        # Each name by itself; what it does not say follows from it.
        (("search", None, None), AFTER, ("search", 1, None, None, None, None)),
        ((None, "chat", None), AFTER, ("support", 2, "chat", 11, None, None)),
        ((None, None, "rag"), AFTER, ("support", 2, "chat", 11, "rag", 21)),
        # The owner at the instant of the call.
        ((None, "chat", None), BEFORE, ("search", 1, "chat", 11, None, None)),
        ((None, None, "rag"), BEFORE, ("search", 1, "chat", 11, "rag", 21)),
        ((None, "search", None), BEFORE, (None, None, "search", 13, None, None)),
        ((None, "batch", None), AFTER, (None, None, "batch", 12, None, None)),
        ((None, None, "nightly"), AFTER, (None, None, "batch", 12, "nightly", 22)),
        # What is said wins over what follows.
        (("search", "chat", None), AFTER, ("search", 1, "chat", 11, None, None)),
        ((None, "batch", "rag"), AFTER, (None, None, "batch", 12, "rag", 21)),
        (("search", "batch", "rag"), AFTER, ("search", 1, "batch", 12, "rag", 21)),
        # Unknown names are kept as sent, attribute nothing, and are not filled in.
        (("sales", None, None), AFTER, ("sales", None, None, None, None, None)),
        (("sales", "chat", "rag"), AFTER, ("sales", None, "chat", 11, "rag", 21)),
        ((None, "moon", None), AFTER, (None, None, "moon", None, None, None)),
        ((None, "moon", "rag"), AFTER, (None, None, "moon", None, "rag", 21)),
        ((None, None, "moon"), AFTER, (None, None, None, None, "moon", None)),
        (("Search", None, None), AFTER, ("Search", None, None, None, None, None)),
        # Kinds do not mix: "search" is a team and a project, "support" only a team.
        ((None, "support", "search"), AFTER, (None, None, "support", None, "search", None)),
        # Mapped names mean their slug, and what follows follows.
        (("suche", None, None), AFTER, ("search", 1, None, None, None, None)),
        ((None, "plauderei", None), AFTER, ("support", 2, "chat", 11, None, None)),
        ((None, None, "rag-v2"), BEFORE, ("search", 1, "chat", 11, "rag", 21)),
        (("plauderei", "suche", None), AFTER, ("plauderei", None, "suche", None, None, None)),
    ],
)
def test_a_call_belongs_to(
    said: tuple[str | None, str | None, str | None],
    at: datetime,
    expected: tuple[str | None, int | None, str | None, int | None, str | None, int | None],
) -> None:
    assert attribute(*said, NAMES, at) == Attribution(*expected)


def test_an_alias_may_mean_a_name_that_is_gone() -> None:
    names = Names(aliases={("team", "suche"): "search"})
    assert attribute("suche", None, None, names, AFTER) == Attribution("search", None, None, None, None, None)


said = st.none() | st.sampled_from(["search", "support", "chat", "batch", "rag", "nightly", "suche", "moon", "rag-v2"])
instants = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@given(said, said, said, instants)
def test_ids_stand_beside_known_labels_only(
    team: str | None, project: str | None, workflow: str | None, at: datetime
) -> None:
    found = attribute(team, project, workflow, NAMES, at)
    assert found.team_id == (NAMES.teams.get(found.team) if found.team else None)
    assert found.project_id == (NAMES.projects.get(found.project) if found.project else None)
    assert found.workflow_id == (NAMES.workflows.get(found.workflow) if found.workflow else None)


@given(said, said, said, instants)
def test_nothing_that_was_said_is_lost(
    team: str | None, project: str | None, workflow: str | None, at: datetime
) -> None:
    found = attribute(team, project, workflow, NO_ALIASES, at)
    for spoken, kept in ((team, found.team), (project, found.project), (workflow, found.workflow)):
        assert spoken is None or kept == spoken


@given(said, said, said, instants)
def test_attributing_its_own_answer_changes_nothing(
    team: str | None, project: str | None, workflow: str | None, at: datetime
) -> None:
    found = attribute(team, project, workflow, NAMES, at)
    assert attribute(found.team, found.project, found.workflow, NAMES, at) == found


@pytest.mark.parametrize(
    ("at", "owner"),
    [
        (lambda: MOVED - timedelta(days=1), None),
        (lambda: MOVED, "search"),
        (lambda: MOVED + timedelta(days=1) - timedelta(microseconds=1), "search"),
        (lambda: MOVED + timedelta(days=1), None),
        (lambda: MOVED + timedelta(days=2), "support"),
        (lambda: MOVED + timedelta(days=9999), "support"),
    ],
)
def test_ownership_is_half_open(at: Callable[[], datetime], owner: str | None) -> None:
    owners = (
        Owned(MOVED, MOVED + timedelta(days=1), "search"),
        Owned(MOVED + timedelta(days=2), None, "support"),
    )
    assert owner_at(owners, at()) == owner
