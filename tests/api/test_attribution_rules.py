"""Attribution rules through the API: made, previewed, ordered, changed and removed."""

import pytest

from apps.teams.rulebook import RULES_MAX
from tests.api.test_names import actions, call, names
from tests.world import make_event

__all__ = ["names"]  # a fixture

RULE = {"name": "The shop's", "when": {"tags.app": "shop*", "provider": "Anthropic"}, "team": "growth"}


def made(api, **fields):
    answer = api.post("attribution-rules", {**RULE, **fields})
    assert answer.status_code == 201, answer.content
    return answer.json()


def listed(api):
    return [row["name"] for row in api.get("attribution-rules").json()["data"]]


def test_a_rule_is_made_read_changed_and_removed(org, names):
    rule = made(names)
    assert rule["when"] == {"provider": "anthropic", "tags.app": "shop*"}
    assert (rule["team"], rule["project"], rule["workflow"]) == ("growth", None, None)
    path = f"attribution-rules/{rule['id']}"
    assert names.get(path).json() == rule
    changed = call(names, "PUT", path, {**RULE, "name": "Other", "workflow": "rag"}).json()
    assert (changed["id"], changed["name"], changed["workflow"]) == (rule["id"], "Other", "rag")
    assert call(names, "DELETE", path).status_code == 204
    for method in ("GET", "DELETE", "PUT"):
        assert call(names, method, path, None if method != "PUT" else RULE).status_code == 404
    assert [action for action, _ in actions(org)[-3:]] == ["rules.created", "rules.changed", "rules.removed"]


def test_rules_stand_in_an_order_of_their_own(names):
    first, _, last = (made(names, name=name) for name in ("a", "b", "c"))
    path = f"attribution-rules/{last['id']}/move"
    for expected in (["a", "c", "b"], ["c", "a", "b"], ["c", "a", "b"]):
        assert names.post(path, {"direction": "up"}).status_code == 200
        assert listed(names) == expected
    names.post(f"attribution-rules/{first['id']}/move", {"direction": "down"})
    assert listed(names) == ["c", "b", "a"]
    assert names.post(path, {"direction": "sideways"}).status_code == 400


def test_a_preview_changes_nothing_and_says_what_would_move(org, names):
    names.send(
        make_event(tags={"app": "shop-1"}),
        make_event(tags={"app": "shop-1"}, model="unheard-of"),
        make_event(tags={"app": "shop-1"}, team="search"),
        make_event(tags={"app": "other"}),
    )
    before = actions(org)
    looked = names.post("attribution-rules/preview", RULE).json()
    assert (looked["events"], looked["unpriced_events"], looked["is_cut"]) == (2, 1, False)
    nothing = {"team": None, "project": None, "workflow": None}
    assert looked["moves"] == [
        {"before": nothing, "after": {**nothing, "team": "growth"}, "events": 2, "unpriced_events": 1,
         "cost_usd": "0.004500000000"}
    ]  # fmt: skip
    assert actions(org) == before
    assert listed(names) == []


@pytest.mark.parametrize("path", ["attribution-rules", "attribution-rules/preview", "attribution-rules/{id}"])
@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"name": ""}, "invalid", "name"),
        ({"name": "a\u0085b"}, "name_invalid", "name"),
        ({"when": {}}, "rule_condition_invalid", "when"),
        ({"when": {f"tags.{n}": "x" for n in range(11)}}, "rule_condition_invalid", "when"),
        ({"when": {"team": "x"}}, "rule_condition_invalid", "when.team"),
        ({"when": {"tags.": "x"}}, "rule_condition_invalid", "when.tags."),
        ({"when": {"tags.a\u0085b": "x"}}, "rule_condition_invalid", "when.tags.a\u0085b"),
        ({"when": {"user": "a\u0085b"}}, "rule_condition_invalid", "when.user"),
        ({"when": {"api_key": "7*"}}, "rule_condition_invalid", "when.api_key"),
        ({"when": {"api_key": "9" * 30}}, "rule_condition_invalid", "when.api_key"),
        ({"team": None}, "rule_gives_nothing", "team"),
        ({"team": "moon"}, "team_unknown", "team"),
        ({"project": "moon"}, "project_unknown", "project"),
        ({"workflow": "moon"}, "workflow_unknown", "workflow"),
        ({"colour": "red"}, "field_unknown", "colour"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused_and_named(names, path, wrong, code, param):
    rule = made(names)
    method = "PUT" if "{id}" in path else "POST"
    answer = call(names, method, path.format(id=rule["id"]), {**RULE, **wrong})
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (400, code, param)
    assert names.get(f"attribution-rules/{rule['id']}").json() == rule


def test_there_is_a_limit_to_rules(names, monkeypatch):
    monkeypatch.setattr("apps.teams.rulebook.RULES_MAX", 2)
    assert RULES_MAX == 100
    made(names)
    made(names)
    answer = names.post("attribution-rules", RULE)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_rules")
