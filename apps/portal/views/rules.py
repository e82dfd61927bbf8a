"""Attribution rules: the list in its order, and the form of one with what it would give."""

from collections.abc import Mapping

from django.http import Http404, HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.filters import label_of, names_of_keys
from apps.portal.pages import Crumb
from apps.portal.pages_budgets import ScopeField
from apps.portal.pages_names import RuleForm, RuleRow, RulesPage
from apps.portal.pages_prices import FormError
from apps.portal.scopes import given_of_scope, known_slugs, read_scope, scope_fields, tag_fields
from apps.portal.views.names import GIVEN_MAX
from apps.portal.views.queue import flows_page
from apps.teams import rulebook, selectors
from apps.teams.attribution import KINDS, RULE_DIMENSIONS, TAG
from apps.teams.models import AttributionRule
from apps.teams.rulebook import RuleTerms
from apps.usage.attribution_preview import preview_rule


@organization_page(section="rules", permission=Permission.VIEW_SPEND)
def rules(visit: Visit) -> HttpResponse:
    with tenant(visit.org):
        found = selectors.list_rules(visit.org)
    key_names = names_of_keys(visit.org, {name for rule in found for name in rule.when})
    page = RulesPage(
        rows=tuple(_row(visit, rule, number, len(found), key_names) for number, rule in enumerate(found, start=1)),
        may_change=visit.may(Permission.MANAGE_NAMES),
        new_url=visit.url("rule_new"),
        queue_url=visit.url("unattributed"),
    )
    frame = visit.frame("Attribution rules", Crumb("Attribution rules"))
    return visit.render("portal/rules.html", frame=frame, rules=page)


def _row(visit: Visit, rule: AttributionRule, number: int, count: int, key_names: Mapping[str, str]) -> RuleRow:
    def shown(name: str, value: str) -> str:
        return key_names.get(value, value) if name == "api_key" else value

    return RuleRow(
        number=number,
        name=rule.name,
        when=tuple((_label(name), shown(name, value)) for name, value in rule.when.items()),
        gives=tuple((kind.capitalize(), slug) for kind, slug in _gives(rule).items()),
        changed_at=rule.changed_at,
        changed_by=rule.changed_by,
        url=visit.url_below("rules", str(rule.pk)),
        is_first=number == 1,
        is_last=number == count,
    )


def _label(name: str) -> str:
    return f"Tag {name.removeprefix(TAG)}" if name.startswith(TAG) else label_of(name)


def _gives(rule: AttributionRule) -> dict[str, str]:
    return {kind: named.slug for kind in KINDS if (named := getattr(rule, kind)) is not None}


@organization_page(section="rules", permission=Permission.MANAGE_NAMES, writes=Permission.MANAGE_NAMES)
def rule_new(visit: Visit) -> HttpResponse:
    return _edit(visit, None, {})


@organization_page(section="rules", permission=Permission.MANAGE_NAMES, writes=Permission.MANAGE_NAMES)
def rule(visit: Visit, rule_id: int) -> HttpResponse:
    with tenant(visit.org):
        found = selectors.rule_by_id(visit.org, rule_id)
    gives = {f"gives.{kind}": slug for kind, slug in _gives(found).items()}
    return _edit(visit, found, {"name": found.name, **given_of_scope(found.when), **gives})


@organization_page(section="rules", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES, is_act=True)
def rule_act(visit: Visit, rule_id: int, act: str) -> HttpResponse:
    if act in ("up", "down"):
        rulebook.move_rule(org=visit.org, rule_id=rule_id, up=act == "up", actor=visit.user)
    elif act == "remove":
        rulebook.remove_rule(org=visit.org, rule_id=rule_id, actor=visit.user)
    else:
        raise Http404
    return HttpResponseRedirect(visit.url("rules"))


def _edit(visit: Visit, found: AttributionRule | None, given: Mapping[str, str]) -> HttpResponse:
    error = flows = None
    if visit.request.method == "POST":
        given = {name: str(value)[:GIVEN_MAX] for name, value in visit.request.POST.items()}
        terms = _terms(given)
        try:
            if given.get("act") != "preview":
                _save(visit, found, terms)
                return HttpResponseRedirect(visit.url("rules"))
            replaces = found.pk if found else None
            flows = flows_page(preview_rule(visit.org, terms=terms, at=visit.at, replaces=replaces))
        except DomainError as wrong:
            param = wrong.param or ""
            of_names = f"gives.{param}" if param in KINDS else param.replace("when.", "scope.", 1)
            error = FormError(of_names, wrong.detail)
    title = f"Edit {found.name}" if found else "New rule"
    known = known_slugs(visit, *KINDS)
    form = RuleForm(
        given=given,
        error=error,
        scope=scope_fields(visit, given, RULE_DIMENSIONS),
        tags=tag_fields(given),
        gives=tuple(
            ScopeField(kind, label_of(kind), given.get(f"gives.{kind}", ""), suggestions=known[kind]) for kind in KINDS
        ),
        flows=flows,
        submit="Save" if found else "Make the rule",
        back_url=visit.url("rules"),
    )
    crumbs = (Crumb("Attribution rules", visit.url("rules")), Crumb(found.name if found else "New"))
    return visit.render("portal/rule_edit.html", frame=visit.frame(title, *crumbs), form=form, error=error)


def _terms(given: Mapping[str, str]) -> RuleTerms:
    gives = {kind: given.get(f"gives.{kind}", "").strip(" ") for kind in KINDS}
    return RuleTerms(name=given.get("name", "").strip(" "), when=read_scope(given, RULE_DIMENSIONS), **gives)


def _save(visit: Visit, found: AttributionRule | None, terms: RuleTerms) -> None:
    if found is None:
        rulebook.create_rule(org=visit.org, terms=terms, actor=visit.user)
    else:
        rulebook.change_rule(org=visit.org, rule_id=found.pk, terms=terms, actor=visit.user)
