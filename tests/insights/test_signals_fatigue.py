import pytest

from apps.insights.fatigue import (
    FAMILIES,
    RAISE,
    RAISED_MAX,
    Candidate,
    Finding,
    Moved,
    Tier,
    Told,
    confirmed,
    cooling,
    gates,
    merge,
    raise_gates,
    speakers,
    tier,
    within_budget,
)
from apps.insights.signals import SIGNALS


@pytest.mark.parametrize(
    ("daily", "raised", "excess", "expected"),
    [
        (100, 1.0, 4.99, Tier.NONE),
        (100, 1.0, 5.0, Tier.DIGEST),
        (100, 1.0, 9.99, Tier.DIGEST),
        (100, 1.0, 10.0, Tier.NOTIFY),
        (5_000, 1.0, 49.0, Tier.DIGEST),
        (5_000, 1.0, 50.0, Tier.NOTIFY),
        (5_000, 1.25, 50.0, Tier.DIGEST),
        (100, 1.25, 5.0, Tier.NONE),
    ],
)
def test_money_decides_the_tier(daily: float, raised: float, excess: float, expected: Tier) -> None:
    assert tier(excess, gates(daily, raised)) is expected


def test_a_burning_budget_has_no_gate() -> None:
    assert tier(0.0, gates(1e6), critical=True) is Tier.CRITICAL


@pytest.mark.parametrize(
    ("hours", "z24", "excess", "drift", "expected"),
    [
        (24, 3.6, 20, False, True),
        (23, 9.0, 20, False, False),
        (24, 3.4, 20, False, False),
        (24, 1.0, 20, True, True),
        (0, 4.0, 100, False, True),  # ten times the gate waits for nobody
        (48, float("nan"), 20, False, False),
    ],
)
def test_an_alarm_leaves_its_page_when_it_has_lasted(
    hours: float, z24: float, excess: float, drift: bool, expected: bool
) -> None:
    assert confirmed(hours, z24, excess, gates(100), drift=drift) is expected


def test_every_signal_has_a_family() -> None:
    assert set(SIGNALS) <= set(FAMILIES)


def found(signal: str, since: float = 0, usd: float = 10, scope: str = "rag") -> Finding:
    return Finding(signal, scope, since, usd)


@pytest.mark.parametrize(
    ("findings", "incidents"),
    [
        ([found("escalation_rate"), found("cost_per_run", 5, 50)], [("routing", 2)]),
        ([found("loops_per_run", usd=20), found("escalation_rate"), found("cost_per_run", 24)], [("loops", 3)]),
        ([found("cost_per_run"), found("cost_per_success", 3)], [("cost", 2)]),
        ([found("escalation_rate"), found("cost_per_run", 25)], [("routing", 1), ("cost", 1)]),
        ([found("escalation_rate"), found("unattributed_share")], [("routing", 1), ("attribution", 1)]),
        ([found("escalation_rate"), found("escalation_rate", scope="triage")], [("routing", 1), ("routing", 1)]),
        ([found("burn"), found("spend_per_hour")], [("budget", 1), ("cost", 1)]),
        ([], []),
    ],
)
def test_what_moved_together_is_one_incident(findings: list[Finding], incidents: list[tuple[str, int]]) -> None:
    merged = merge(findings)
    assert sorted((each.family, len(each.findings)) for each in merged) == sorted(incidents)


def test_a_merged_incident_counts_its_money_once() -> None:
    (incident,) = merge([found("escalation_rate", 3, 10), found("cost_per_run", 5, 40)])
    assert (incident.excess_usd, incident.since, incident.key) == (40, 3, ("rag", "routing"))


@pytest.mark.parametrize(
    ("moved", "told"),
    [
        # One child is most of it: the child.
        ([Moved("team", None, 100), Moved("a", "team", 75), Moved("b", "team", 20)], {"a", "b"}),
        # Three move together: the parent, even if it did not move beyond its own noise.
        ([Moved("team", None, 100), *(Moved(name, "team", 30) for name in "abc")], {"team"}),
        ([Moved(name, "team", 30) for name in "abc"], {"team"}),
        # Two, neither of which is most of it: each for itself.
        ([Moved("team", None, 100), Moved("a", "team", 50), Moved("b", "team", 45)], {"team", "a", "b"}),
        ([Moved("a", "team", 30)], {"a"}),
        ([], set()),
    ],
)
def test_who_speaks_for_whom(moved: list[Moved], told: set[str]) -> None:
    assert speakers(moved) == told


@pytest.mark.parametrize(
    ("last", "hour", "excess", "quiet"),
    [
        (None, 0, 10, False),
        (Told(0, 10), 167, 19, True),
        (Told(0, 10), 167, 20, False),
        (Told(0, 10), 168, 10, False),
    ],
)
def test_a_key_that_was_told_of_keeps_quiet_for_a_week_unless_it_doubles(
    last: Told | None, hour: float, excess: float, quiet: bool
) -> None:
    assert cooling(last, hour, excess) is quiet


def test_a_team_is_told_of_its_dearest_once_a_week() -> None:
    many = [
        Candidate(("a", "loops"), "search", Tier.NOTIFY, 20),
        Candidate(("b", "loops"), "search", Tier.NOTIFY, 90),
        Candidate(("c", "loops"), "support", Tier.NOTIFY, 15),
        Candidate(("d", "budget"), "search", Tier.CRITICAL, 1),
        Candidate(("e", "cache"), "search", Tier.DIGEST, 6),
    ]
    tiers = within_budget(many, {})
    assert {key[0]: given for key, given in tiers.items()} == {
        "a": Tier.DIGEST, "b": Tier.NOTIFY, "c": Tier.NOTIFY, "d": Tier.CRITICAL, "e": Tier.DIGEST,
    }  # fmt: skip
    assert within_budget(many, {"search": 1})["b", "loops"] is Tier.DIGEST


@pytest.mark.parametrize(
    ("raised", "incidents", "not_useful", "after"),
    [
        (1.0, 20, 0, 1.0),
        (1.0, 20, 1, 1.0),  # one click
        (1.0, 20, 2, RAISE),
        (1.0, 100, 5, 1.0),  # five in a hundred are allowed
        (1.0, 100, 6, RAISE),
        (RAISE, 100, 6, RAISE**2),
        (RAISED_MAX, 10, 9, RAISED_MAX),
        (RAISE, 20, 0, 1.0),
        (RAISE, 0, 0, RAISE),  # nobody was told of anything: nobody has said it was right
    ],
)
def test_gates_follow_those_who_were_told(raised: float, incidents: int, not_useful: int, after: float) -> None:
    assert raise_gates(raised, incidents=incidents, not_useful=not_useful) == pytest.approx(after)
