"""Rules: what they match, what they give, and what they must leave alone."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.teams.attribution import (
    KINDS,
    Attribution,
    Names,
    Owned,
    Rule,
    attribute,
    call_of,
    first_match,
    given_by,
)

AT = datetime(2026, 11, 1, tzinfo=UTC)
EVER = datetime.min.replace(tzinfo=UTC)
TEAMS, PROJECTS, WORKFLOWS = ("search", "growth"), ("answers", "mails"), ("rag", "nightly")
NAMES = Names(
    teams={slug: 1 + index for index, slug in enumerate(TEAMS)},
    projects={slug: 11 + index for index, slug in enumerate(PROJECTS)},
    workflows={slug: 21 + index for index, slug in enumerate(WORKFLOWS)},
    owners={"answers": (Owned(EVER, None, "search"),)},
    project_of={"rag": "answers", "nightly": "mails"},
    aliases={("workflow", "old-rag"): "rag"},
)


def rule(when: dict[str, str], number: int = 1, **gives: str) -> Rule:
    named = {kind: gives.get(kind) for kind in KINDS}
    return Rule(id=number, name=f"rule {number}", when=when, since=EVER, version=1, **named)


def call(**said: object) -> dict[str, str | None]:
    plain: dict[str, object] = {
        "workflow": None, "user": None, "api_key": 7, "environment": None, "provider": "openai", "model": "GPT-5",
        "task_type": None, "tags": None,
    }  # fmt: skip
    return dict(call_of(**{**plain, **said}))  # type: ignore[arg-type]  # as a test says it


@pytest.mark.parametrize(
    ("when", "said", "matches"),
    [
        ({"environment": "prod"}, {"environment": "prod"}, True),
        ({"environment": "prod"}, {"environment": "production"}, False),
        ({"environment": "prod*"}, {"environment": "production"}, True),
        ({"environment": "prod"}, {"environment": "Prod"}, False),
        ({"environment": "prod"}, {}, False),
        ({"environment": "*"}, {}, False),
        ({"environment": "*"}, {"environment": "x"}, True),
        ({"workflow": "rag-*"}, {"workflow": "rag-7"}, True),
        ({"workflow": "rag-*"}, {"workflow": "rag"}, False),
        ({"api_key": "7"}, {}, True),
        ({"api_key": "70"}, {}, False),
        ({"model": "gpt-5*"}, {}, True),
        ({"provider": "openai"}, {"provider": "OpenAI"}, True),
        ({"tags.app": "shop"}, {"tags": {"app": "shop"}}, True),
        ({"tags.app": "shop"}, {"tags": {"App": "shop"}}, False),
        ({"tags.app": "s*"}, {"tags": {"app": "shop", "b": "c"}}, True),
        ({"environment": "prod", "user": "u"}, {"environment": "prod", "user": "u"}, True),
        ({"environment": "prod", "user": "u"}, {"environment": "prod", "user": "v"}, False),
    ],
)
def test_a_rule_matches(when: dict[str, str], said: dict[str, object], matches: bool) -> None:
    assert rule(when, team="search").matches(call(**said)) is matches


@pytest.mark.parametrize(
    ("said", "gives", "expected"),
    [
        ((None, None, None), {"team": "growth"}, ("growth", None, None)),
        # What follows from what it gives follows, unless it says otherwise.
        ((None, None, None), {"workflow": "rag"}, ("search", "answers", "rag")),
        ((None, None, None), {"workflow": "rag", "team": "growth"}, ("growth", "answers", "rag")),
        ((None, None, None), {"project": "mails"}, (None, "mails", None)),
        # What is said, or follows from it, stays; the rest is given.
        (("search", None, None), {"team": "growth", "project": "mails"}, ("search", "mails", None)),
        ((None, "answers", None), {"team": "growth"}, ("search", "answers", None)),
        ((None, None, "rag"), {"team": "growth", "project": "mails"}, ("search", "answers", "rag")),
        # An unknown name is said, too.
        (("sales", None, None), {"team": "growth"}, ("sales", None, None)),
        ((None, None, "rag-7"), {"project": "answers"}, ("search", "answers", "rag-7")),
    ],
)
def test_a_rule_gives_what_is_missing(
    said: tuple[str | None, str | None, str | None], gives: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    found = given_by(rule({"api_key": "*"}, **gives), attribute(*said, NAMES, AT), NAMES, AT)
    assert tuple(getattr(found, kind) for kind in KINDS) == expected


# --- laws ---

values = st.sampled_from(["a", "ab", "b", "a*", "*"])
whens = st.dictionaries(st.sampled_from(["workflow", "environment", "user", "tags.t"]), values, min_size=1, max_size=3)


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    return tuple(
        rule(
            draw(whens),
            number,
            **{
                kind: slug
                for kind, known in zip(KINDS, (TEAMS, PROJECTS, WORKFLOWS), strict=True)
                if (slug := draw(st.none() | st.sampled_from(known)))
            },
        )
        for number in range(draw(st.integers(0, 4)))
    )


text = st.none() | st.sampled_from(["a", "ab", "abc", "b"])
calls = st.builds(
    lambda workflow, environment, user, tag: call(
        workflow=workflow, environment=environment, user=user, tags={"t": tag} if tag else None
    ),
    text, text, text, text,
)  # fmt: skip
said = st.tuples(
    st.none() | st.sampled_from([*TEAMS, "moon"]),
    st.none() | st.sampled_from([*PROJECTS, "moon"]),
    st.none() | st.sampled_from([*WORKFLOWS, "old-rag", "moon"]),
)


def ruled(
    names: tuple[str | None, str | None, str | None], book: tuple[Rule, ...], one: dict[str, str | None]
) -> Attribution:
    return given_by(first_match(book, one), attribute(*names, NAMES, AT), NAMES, AT)


@given(said, rules(), calls)
def test_a_rule_never_changes_what_an_event_says_or_what_follows(names, book, one):  # type: ignore[no-untyped-def]
    before, after = attribute(*names, NAMES, AT), ruled(names, book, one)
    for kind in KINDS:
        assert getattr(before, kind) is None or getattr(after, kind) == getattr(before, kind)
        assert getattr(before, f"{kind}_id") is None or getattr(after, f"{kind}_id") == getattr(before, f"{kind}_id")


@given(said, rules(), calls)
def test_the_first_that_matches_decides_and_no_other(names, book, one):  # type: ignore[no-untyped-def]
    matching = [candidate for candidate in book if candidate.matches(one)]
    alone = ruled(names, tuple(matching[:1]), one)
    assert ruled(names, book, one) == alone
    assert ruled(names, (), one) == attribute(*names, NAMES, AT)


@given(said, rules(), calls)
def test_giving_twice_gives_no_more(names, book, one):  # type: ignore[no-untyped-def]
    once = ruled(names, book, one)
    assert given_by(first_match(book, one), once, NAMES, AT) == once
