"""What pages about the audit log say: who, what and the changed data in the reader's words."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

# What was done, read before the name of what it was done to.
ACTIONS = {
    "organizations.created": "created the organization",
    "organizations.zone_changed": "changed the time zone of",
    "organizations.settings_changed": "changed settings of",
    "organizations.transferred": "handed the organization over to",
    "organizations.closing": "began to delete the organization",
    "organizations.restored": "restored the organization",
    "organizations.closed": "deleted the organization",
    "organizations.suspended": "suspended the organization",
    "organizations.reinstated": "reinstated the organization",
    "impersonation.began": "began to look as",
    "impersonation.ended": "ended looking as",
    "people.deactivated": "deactivated the account of",
    "people.reactivated": "reactivated the account of",
    "people.second_factor_removed": "removed a second factor of",
    "people.session_ended": "ended a session of",
    "members.added": "added the member",
    "members.invited": "invited",
    "members.invitation_revoked": "revoked the invitation of",
    "members.joined": "joined as",
    "members.role_changed": "changed the role of",
    "members.removed": "removed the member",
    "members.left": "left as",
    "sso.domain_added": "added the domain",
    "sso.domain_verified": "proved the domain",
    "sso.domain_removed": "removed the domain",
    "sso.connected": "connected single sign-on by",
    "sso.disconnected": "disconnected single sign-on by",
    "sso.enforced": "enforced single sign-on in",
    "sso.relaxed": "no longer enforces single sign-on in",
    "keys.issued": "issued the key",
    "keys.rotated": "rotated the key",
    "keys.revoked": "revoked the key",
    "teams.created": "created the team",
    "teams.renamed": "renamed the team",
    "teams.cost_centre_changed": "changed the cost centre of the team",
    "projects.created": "created the project",
    "projects.renamed": "renamed the project",
    "projects.moved": "moved the project",
    "projects.move_called_off": "called off the move of the project",
    "workflows.created": "created the workflow",
    "workflows.renamed": "renamed the workflow",
    "workflows.moved": "moved the workflow",
    "workflows.owner_changed": "changed the owner of the workflow",
    "signals.acknowledged": "acknowledged the incident",
    "signals.expected": "said to be expected the incident",
    "signals.dismissed": "dismissed the incident",
    "signals.resolved": "resolved the incident",
    "signals.rated": "rated the incident",
    "marks.set": "set the mark",
    "marks.changed": "changed the mark",
    "marks.removed": "removed the mark",
    "pools.created": "made the pool of shared cost",
    "pools.changed": "changed the pool of shared cost",
    "pools.reordered": "moved in its order the pool of shared cost",
    "pools.ended": "ended the pool of shared cost",
    "rules.created": "made the attribution rule",
    "rules.changed": "changed the attribution rule",
    "rules.reordered": "moved in its order the attribution rule",
    "rules.removed": "removed the attribution rule",
    "names.mapped": "mapped the name",
    "names.unmapped": "removed the mapping of the name",
    "names.created_on_first_sight": "created what events named, in",
    "invoices.imported": "imported the bill of",
    "invoices.deleted": "deleted the bill of",
    "invoices.trued_up": "trued up the bills of",
    "bill_mappings.saved": "saved the mapping of bills",
    "bill_mappings.removed": "removed the mapping of bills",
    "contracts.created": "added the contract",
    "contracts.ended": "ended the contract",
    "model_aliases.set": "set the model alias",
    "model_aliases.removed": "removed the model alias",
    "reratings.previewed": "previewed the re-rating",
    "reratings.posting": "began to post the re-rating",
    "reratings.posted": "posted the re-rating",
    "reratings.stopped": "stopped the re-rating",
    "reratings.resumed": "resumed the re-rating",
    "reratings.stale": "gave up as stale the re-rating",
    "chargeback.terms_changed": "changed how months close in",
    "chargeback.rate_entered": "entered the exchange rate",
    "chargeback.adjusted": "booked an adjustment on the statement",
    "chargeback.month_review": "began the review of",
    "chargeback.month_reopen": "ended the review of",
    "chargeback.month_fence": "closed the month",
    "chargeback.month_fail": "could not make final the month",
    "chargeback.month_seal": "made final the month",
    "chargeback.dispute_raised": "disputed a line of the statement",
    "chargeback.dispute_rejected": "rejected a dispute of the statement",
    "chargeback.dispute_moved": "moved what was disputed on the statement",
    "savings.accepted": "accepted a recommendation for",
    "savings.dismissed": "dismissed a recommendation for",
    "savings.done": "marked a recommendation done for",
    "savings.reopened": "reopened a recommendation for",
    "savings.came_back": "found a dismissed or done recommendation again for",
    "budgets.created": "created the budget",
    "budgets.changed": "changed the budget",
    "budgets.ended": "ended the budget",
    "budgets.raise_asked": "asked for a raise of the budget",
    "budgets.raise_approved": "approved a raise of the budget",
    "budgets.raise_refused": "refused a raise of the budget",
    "budgets.run_bound_set": "bounded runs of",
    "budgets.run_bound_removed": "removed the bounds on runs of",
    "budgets.stopped": "stopped",
    "budgets.lifted": "lifted the stop of",
    "plans.created": "made the plan",
    "plans.revised": "revised the plan",
    "plans.proposed": "proposed by real runs a revision of the plan",
    "plans.changed": "changed the plan",
    "plans.approved": "approved the plan",
    "plans.rejected": "rejected the plan",
    "plans.launched": "launched the plan",
    "plans.retired": "retired the plan",
    "statement_mail.terms_changed": "changed what is mailed of the statements of",
    "statement_mail.recipient_added": "changed which statements are mailed to",
    "statement_mail.recipient_removed": "took statements by mail away from",
    "statement_mail.address_confirmed": "confirmed the address",
    "statement_mail.unsubscribed": "ended a digest for",
    "statement_mail.subscribed_again": "took a digest up again for",
    "statement_mail.month_sent": "mailed the statements of",
    "statement_mail.tested": "mailed a test of",
    "statement_mail.resent": "sent again the",
    "statement_mail.bounced": "noted the bounce of",
    "channels.created": "added the alerts",
    "channels.changed": "changed the alerts",
    "channels.deleted": "deleted the alerts",
    "channels.enabled": "enabled the alerts",
    "channels.disabled": "disabled the alerts",
    "channels.rotated": "rotated the secret of the alerts",
    "channels.tested": "sent a test to the alerts",
    "views.saved": "saved the view",
    "views.renamed": "renamed a view to",
    "views.changed": "changed the view",
    "views.shared": "shared the view",
    "views.unshared": "stopped sharing the view",
    "views.taken": "made their own the view",
    "views.deleted": "deleted the view",
    "deliveries.retried": "sent again the",
    "exports.asked": "asked for the export",
    "exports.deleted": "deleted the export",
}
ACTORS = {
    "command": "A command on the server",
    "alerts": "The alerts worker",
    "planner": "Real runs",
    "load_demo": "The demo",
    "the demo": "The demo",
}
LINES_MAX = 40
VALUE_LENGTH_MAX = 500
NESTING_MAX = 4


def did(action: str) -> str:
    """ "issued the key"; of an action without words of its own, "sessions: ended"."""
    kind, _, verb = action.partition(".")
    return ACTIONS.get(action) or f"{kind}: {verb}".replace("_", " ").removesuffix(": ")


def who(actor: str, key_names: Mapping[str, str] = MappingProxyType({})) -> str:
    """A person's address as it is; of a key what people call it."""
    name = key_names.get(actor.removeprefix("key:")) if actor.startswith("key:") else None
    return f"Key {name}" if name else ACTORS.get(actor, actor)


def within(actor: str) -> str:
    """Who it was, within a sentence."""
    return f"{who(actor)[:1].lower()}{who(actor)[1:]}" if actor in ACTORS else actor


def data_lines(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values; what is nested is named by its way there, and what does not fit is said to be left out."""
    lines = list(_lines(data))
    left = len(lines) - LINES_MAX
    return (*lines[:LINES_MAX], *([("and", f"{left} more")] if left > 0 else ()))


def _lines(data: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    for name, value in sorted(data.items()):
        here = (*path, str(name).replace("_", " "))
        if isinstance(value, Mapping) and value and len(here) < NESTING_MAX:
            yield from _lines(value, here)
        else:
            yield " › ".join(here), _value(value)


def _value(value: Any) -> str:
    match value:
        case None | "" | []:
            text = "—"
        case dict() if not value:
            text = "—"
        case bool():
            text = "yes" if value else "no"
        case list() if all(isinstance(one, str | int) for one in value):
            text = ", ".join(map(str, value))
        case list() | dict():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[:VALUE_LENGTH_MAX]}…"
