"""Every act that is written down has words of its own where people read the audit log."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from apps.portal.audit_words import ACTIONS

APPS = Path(__file__).parents[2] / "apps"
_ACTION = re.compile(r"[a-z_{}]+\.[a-z_{}]+")
# An action that is put together where it is written, and what may stand in its place.
PUT_TOGETHER = {
    "invoices.{}": ("imported", "deleted"),
    "views.{}": ("saved", "renamed", "changed", "shared", "unshared", "taken", "deleted"),
    "budgets.raise_{}": ("approved", "refused"),
    "reratings.{}": ("previewed", "posting", "posted", "stopped", "resumed", "stale"),
    "savings.{}": ("accepted", "dismissed", "done", "reopened"),
    "chargeback.month_{}": ("review", "reopen", "fence", "fail", "seal"),
    "signals.{}": ("acknowledged", "expected", "dismissed", "resolved"),
    "marks.{}": ("set", "changed"),
    "{}s.created": ("team", "project", "workflow"),
    "{}s.renamed": ("team", "project", "workflow"),
}


def written() -> Iterator[tuple[str, str]]:
    """Each action, and the file in which it is given to a function as its `action`."""
    for path in APPS.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        # By name, at which place a function of this file takes its action.
        places = {
            node.name: [argument.arg for argument in node.args.args].index("action")
            for node in nodes
            if isinstance(node, ast.FunctionDef) and any(argument.arg == "action" for argument in node.args.args)
        }
        for call in nodes:
            if isinstance(call, ast.Call):
                yield from ((action, path.name) for action in actions_of(call, places))


def actions_of(call: ast.Call, places: Mapping[str, int]) -> Iterator[str]:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "action"]
    if isinstance(call.func, ast.Name) and call.func.id in places:
        given += call.args[places[call.func.id] :][:1]
    choices = [
        side for value in given for side in ((value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,))
    ]
    yield from (text for text in map(text_of, choices) if _ACTION.fullmatch(text))


def text_of(node: ast.AST) -> str:
    """A text as it stands, with {} for what is put in; "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "{}" for part in node.values)
    return ""


def spelled(action: str) -> list[str]:
    return [action.format(part) for part in PUT_TOGETHER[action]] if "{}" in action else [action]


def test_every_act_that_is_written_down_has_words() -> None:
    found = sorted(set(written()))
    unknown = [(action, file) for action, file in found if "{}" in action and action not in PUT_TOGETHER]
    assert unknown == [], "say in PUT_TOGETHER what may stand there"
    missing = [(one, file) for action, file in found for one in spelled(action) if one not in ACTIONS]
    assert missing == [], "give it words in apps/portal/audit_words.py"


def test_there_are_words_for_nothing_else() -> None:
    known = {one for action, _ in written() for one in spelled(action)}
    assert set(ACTIONS) - known == set()


def test_it_finds_what_is_given_by_name_by_place_by_choice_and_put_together() -> None:
    actions = {action for action, _ in written()}
    assert {
        "keys.issued",
        "members.removed",
        "sso.relaxed",
        "sso.enforced",
        "impersonation.began",
        "views.{}",
    } <= actions
