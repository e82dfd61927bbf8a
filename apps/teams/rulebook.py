"""Attribution rules: making, changing, ordering and removing them.

A rule counts for what is stored after it. What was stored in the `REACH` before it and is still missing what the rule
gives is given it by postings, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max
from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.selectors import facts_version
from apps.organizations.services import touch_facts
from apps.teams import selectors
from apps.teams.attribution import ANY, KINDS, RULE_DIMENSIONS, TAG, Rule
from apps.teams.models import NAME_LENGTH_MAX, AttributionRule, Project, Team, Workflow

REACH = timedelta(days=30)
RULES_MAX = 100
CONDITIONS_MAX = 10
RULE_NAME_MAX = 100
KEY_ID_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class RuleTerms:
    """What a person says of a rule; the names it gives are slugs, "" for none."""

    name: str
    when: Mapping[str, Any] = field(default_factory=dict)
    team: str = ""
    project: str = ""
    workflow: str = ""


@dataclass(frozen=True, slots=True)
class _Given:
    team: Team | None
    project: Project | None
    workflow: Workflow | None


def create_rule(*, org: Organization, terms: RuleTerms, actor: object) -> AttributionRule:
    """A rule after all others.

    Raises `DomainError` with code `rule_condition_invalid`, `rule_gives_nothing`, `name_invalid`, `team_unknown`,
    `project_unknown`, `workflow_unknown` or `too_many_rules`.
    """
    with tenant(org):
        when, given = _read(org, terms)
        touch_facts(org)  # the organization's row first: changes of rules queue up behind it
        rows = AttributionRule.objects.for_org(org)
        if rows.count() >= RULES_MAX:
            raise DomainError(
                "too_many_rules", f"There are {RULES_MAX} rules already: remove one that is not needed any more."
            )
        last = rows.aggregate(last=Max("position"))["last"]
        row = AttributionRule(organization=org, position=0 if last is None else last + 1)
        _write(row, org, terms, when, given, actor)
        audit.record(org=org, actor=actor, action="rules.created", subject=str(row.pk), data=_said(row))
    return row


def change_rule(*, org: Organization, rule_id: int, terms: RuleTerms, actor: object) -> AttributionRule:
    """Another rule in the place of this one. What the old one gave stays given. Raises like `create_rule`."""
    with tenant(org):
        when, given = _read(org, terms)
        touch_facts(org)
        row = _rule(org, rule_id)
        _write(row, org, terms, when, given, actor)
        audit.record(org=org, actor=actor, action="rules.changed", subject=str(row.pk), data=_said(row))
    return row


def move_rule(*, org: Organization, rule_id: int, up: bool, actor: object) -> AttributionRule:
    """One place earlier or later; at the end of the list it stays."""
    with tenant(org):
        touch_facts(org)
        row = _rule(org, rule_id)
        others = AttributionRule.objects.for_org(org)
        before, after = others.filter(position__lt=row.position), others.filter(position__gt=row.position)
        other = before.order_by("-position").first() if up else after.order_by("position").first()
        if other is not None:
            row.position, other.position = other.position, row.position
            row.save(update_fields=["position"])
            other.save(update_fields=["position"])
            audit.record(
                org=org,
                actor=actor,
                action="rules.reordered",
                subject=str(row.pk),
                data={"name": row.name, "now": "before" if up else "after", "other": other.name},
            )
    return row


def remove_rule(*, org: Organization, rule_id: int, actor: object) -> None:
    """From now on it gives nothing; what it gave stays given."""
    with tenant(org):
        touch_facts(org)
        row = _rule(org, rule_id)
        audit.record(org=org, actor=actor, action="rules.removed", subject=str(row.pk), data=_said(row))
        row.delete()


def draft(*, org: Organization, terms: RuleTerms, at: datetime, replaces: int | None = None) -> tuple[Rule, ...]:
    """The rules as they would be with this one, last or in the place of `replaces`; the one that is new has the
    highest version. Inside `tenant(org)`. Raises like `create_rule`.
    """
    when, given = _read(org, terms)
    rules = selectors.load_rules(org)
    new = Rule(
        id=replaces or 0,
        name=terms.name,
        when=when,
        team=given.team.slug if given.team else None,
        project=given.project.slug if given.project else None,
        workflow=given.workflow.slug if given.workflow else None,
        since=at - REACH,
        version=facts_version(org.pk) + 1,
    )
    if replaces is None:
        return (*rules, new)
    if all(rule.id != replaces for rule in rules):
        raise NotFound("attribution rule")
    return tuple(new if rule.id == replaces else rule for rule in rules)


def _rule(org: Organization, rule_id: int) -> AttributionRule:
    row = AttributionRule.objects.for_org(org).select_related("team", "project", "workflow").filter(pk=rule_id).first()
    if row is None:
        raise NotFound("attribution rule")
    return row


def _write(
    row: AttributionRule,
    org: Organization,
    terms: RuleTerms,
    when: dict[str, str],
    given: _Given,
    actor: object,
) -> None:
    row.name, row.when = terms.name, when
    row.team, row.project, row.workflow = given.team, given.project, given.workflow
    row.changed_at = timezone.now()
    row.changed_by = str(actor) if actor is not None else "command"
    row.since = row.changed_at - REACH
    row.facts_version = facts_version(org.pk)
    row.save()


def _said(row: AttributionRule) -> dict[str, Any]:
    gives = {kind: getattr(row, kind).slug for kind in KINDS if getattr(row, f"{kind}_id") is not None}
    return {"name": row.name, "when": row.when, "gives": gives}


# --- reading what a person says --------------------------------------------------------------------------


def _read(org: Organization, terms: RuleTerms) -> tuple[dict[str, str], _Given]:
    if not is_name(terms.name, RULE_NAME_MAX):
        raise DomainError(
            "name_invalid", f"A rule needs a name of 1 to {RULE_NAME_MAX} printable characters.", param="name"
        )
    if not isinstance(terms.when, Mapping) or not 1 <= len(terms.when) <= CONDITIONS_MAX:
        raise DomainError(
            "rule_condition_invalid",
            f"A rule says of which events it speaks: 1 to {CONDITIONS_MAX} conditions in `when`.",
            param="when",
        )
    when = {dimension: _wanted(dimension, terms.when[dimension]) for dimension in sorted(terms.when)}
    if not (terms.team or terms.project or terms.workflow):
        raise DomainError("rule_gives_nothing", "A rule gives a team, a project or a workflow: name one.", param="team")
    given = _Given(
        selectors.require_team(org, terms.team) if terms.team else None,
        selectors.require_project(org, terms.project) if terms.project else None,
        selectors.require_workflow(org, terms.workflow) if terms.workflow else None,
    )
    return when, given


def _wanted(dimension: str, value: Any) -> str:
    param = f"when.{dimension}"[:64]
    is_tag = dimension.startswith(TAG) and is_name(dimension.removeprefix(TAG), NAME_LENGTH_MAX)
    if dimension not in RULE_DIMENSIONS and not is_tag:
        raise DomainError(
            "rule_condition_invalid",
            f"'{dimension[:64]}' is nothing that a rule looks at: use {', '.join(RULE_DIMENSIONS)} or tags.<key>.",
            param=param,
        )
    if not isinstance(value, str) or not is_name(value, NAME_LENGTH_MAX):
        raise DomainError(
            "rule_condition_invalid",
            f"{dimension[:64]} is {value!r:.80}: write 1 to {NAME_LENGTH_MAX} printable characters, with a * at the"
            " end for all that begin so.",
            param=param,
        )
    if (
        dimension == "api_key"
        and value != ANY
        and not (value.isascii() and value.isdigit() and len(value) <= KEY_ID_DIGITS_MAX)
    ):
        raise DomainError(
            "rule_condition_invalid", f"api_key is '{value[:64]}': write the number of a key.", param=param
        )
    return value.lower() if dimension in ("provider", "model") else value
