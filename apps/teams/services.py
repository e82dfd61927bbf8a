from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.selectors import member_by_email
from apps.organizations.services import touch_facts
from apps.teams import selectors
from apps.teams.attribution import KINDS
from apps.teams.models import (
    COST_CENTRE_LENGTH_MAX,
    NAME_LENGTH_MAX,
    Alias,
    Named,
    Ownership,
    Project,
    Team,
    Workflow,
)

N = TypeVar("N", bound=Named)


def create_team(
    *, org: Organization, slug: str, name: str = "", cost_centre: str | None = None, actor: object = None
) -> Team:
    """Raises `DomainError` with code `slug_invalid`, `name_invalid`, `cost_centre_invalid` or `slug_taken`."""
    check_cost_centre(cost_centre)
    with tenant(org):
        return _create(
            Team(organization=org, slug=slug, name=name or slug, cost_centre=cost_centre or None), org, actor
        )


def create_project(
    *,
    org: Organization,
    slug: str,
    name: str = "",
    team: Team | None = None,
    valid_from: datetime | None = None,
    actor: object = None,
) -> Project:
    """A project; `team` owns it from `valid_from` on (None: since ever)."""
    with tenant(org):
        project = _create(Project(organization=org, slug=slug, name=name or slug), org, actor)
        if team is not None:
            Ownership(organization=org, project=project, team=team, during=DateTimeTZRange(valid_from, None)).save()
    return project


def create_workflow(
    *, org: Organization, slug: str, project: Project, name: str = "", actor: object = None
) -> Workflow:
    with tenant(org):
        return _create(Workflow(organization=org, slug=slug, name=name or slug, project=project), org, actor)


def rename(*, org: Organization, named: N, name: str, actor: object) -> N:
    """Change what people read. The slug, which events say, stays. Raises `DomainError` (`name_invalid`)."""
    kind = type(named).__name__.lower()
    check_name(kind, "name", name)
    with tenant(org):
        before, named.name = named.name, name
        named.save(update_fields=["name"])
        audit.record(
            org=org, actor=actor, action=f"{kind}s.renamed", subject=named.slug, data={"from": before, "to": name}
        )
    return named


def move_project(*, org: Organization, project: Project, team: Team, at: datetime, actor: object) -> None:
    """From `at` on the project belongs to another team; before `at` nothing changes. Moving it again to where it goes
    then changes nothing.

    Events are attributed when they are stored: those stored already keep their team.

    Raises `DomainError` with code `already_moved_later` where another move at `at` or later exists.
    """
    with tenant(org):
        touch_facts(org)  # the organization's row first: moves of one project queue up behind it
        current = check_move(org, project=project, at=at, team=team)
        if current is not None and current.team_id == team.pk:
            return
        if current is not None:
            current.during = DateTimeTZRange(current.during.lower, at)
            current.save(update_fields=["during"])
        Ownership(organization=org, project=project, team=team, during=DateTimeTZRange(at, None)).save()
        audit.record(
            org=org,
            actor=actor,
            action="projects.moved",
            subject=project.slug,
            data={"team": team.slug, "at": at.isoformat()},
        )


def check_move(org: Organization, *, project: Project, at: datetime, team: Team) -> Ownership | None:
    """Who owns the project at `at`, if it can be moved then; inside `tenant(org)`. Raises like `move_project`."""
    rows = Ownership.objects.for_org(org).select_related("team").filter(project=project)
    later = rows.filter(during__startswith__gte=at).order_by("during").first()
    current = rows.filter(during__contains=at).first()
    if later is None or (later == current and later.team_id == team.pk):
        return current
    raise DomainError(
        "already_moved_later",
        f"{project.slug} goes to {later.team.slug} on {later.during.lower:%-d %b %Y at %H:%M} UTC already: move it"
        " later than that, or call that move off while it has not come.",
        param="at",
    )


def call_off_move(*, org: Organization, project: Project, actor: object) -> None:
    """Forget the latest move of a project, while its instant has not come. Raises `DomainError` (`no_move_ahead`)."""
    with tenant(org):
        touch_facts(org)
        rows = Ownership.objects.for_org(org).select_related("team").filter(project=project)
        coming = rows.filter(during__startswith__gt=timezone.now()).order_by("-during").first()
        if coming is None:
            raise DomainError("no_move_ahead", f"No move of {project.slug} is ahead: move it anew instead.")
        since = coming.during.lower
        coming.delete()
        for before in rows.filter(during__endswith=since):
            before.during = DateTimeTZRange(before.during.lower, None)
            before.save(update_fields=["during"])
        audit.record(
            org=org,
            actor=actor,
            action="projects.move_called_off",
            subject=project.slug,
            data={"team": coming.team.slug, "at": since.isoformat()},
        )


def move_workflow(*, org: Organization, workflow: Workflow, project: Project, actor: object) -> Workflow:
    """From now on the workflow belongs to another project; events stored already keep theirs."""
    with tenant(org):
        touch_facts(org)
        row = Workflow.objects.for_org(org).select_related("project").get(pk=workflow.pk)
        if row.project_id == project.pk:
            return row
        before, row.project = row.project, project
        row.save(update_fields=["project"])
        audit.record(
            org=org,
            actor=actor,
            action="workflows.moved",
            subject=row.slug,
            data={"from": before.slug, "project": project.slug},
        )
    return row


def set_workflow_owner(*, org: Organization, workflow: Workflow, email: str, actor: object) -> Workflow:
    """The member who answers for a workflow, "" for nobody. Raises `DomainError` (`owner_not_member`)."""
    with tenant(org):
        owner = member_by_email(org, email) if is_name(email, NAME_LENGTH_MAX) else None
        if owner is None and email:
            raise DomainError(
                "owner_not_member",
                f"'{email[:NAME_LENGTH_MAX]}' is no member of {org.slug}: write the address of one.",
                param="owner",
            )
        workflow.owner_id = owner.pk if owner else None
        workflow.save(update_fields=["owner"])
        audit.record(
            org=org,
            actor=actor,
            action="workflows.owner_changed",
            subject=workflow.slug,
            data={"owner": owner.email if owner else None},
        )
    return workflow


def set_cost_centre(*, org: Organization, team: Team, cost_centre: str | None, actor: object) -> Team:
    """What the ledger calls the team from now on, "" or None for nothing; statements that are final keep theirs.

    Raises `DomainError` (`cost_centre_invalid`).
    """
    check_cost_centre(cost_centre)
    with tenant(org):
        before, team.cost_centre = team.cost_centre, cost_centre or None
        team.save(update_fields=["cost_centre"])
        audit.record(
            org=org,
            actor=actor,
            action="teams.cost_centre_changed",
            subject=team.slug,
            data={"from": before, "to": team.cost_centre},
        )
    return team


def check_cost_centre(text: str | None) -> None:
    if text and not is_name(text, COST_CENTRE_LENGTH_MAX):
        detail = (
            f"A cost centre has at most {COST_CENTRE_LENGTH_MAX} printable characters: write what the ledger calls it."
        )
        raise DomainError("cost_centre_invalid", detail, param="cost_centre")


def map_name(*, org: Organization, kind: str, name: str, slug: str, actor: object) -> Alias:
    """From now on `name` in an event means the team, project or workflow `slug`.

    Raises `DomainError` with code `kind_unknown`, `name_invalid`, `name_known` or `NotFound`. Mapping again replaces
    the meaning.
    """
    with tenant(org):
        check_mapping(org, kind=kind, name=name, slug=slug)
        alias, _ = Alias.objects.for_org(org).update_or_create(
            kind=kind, name=name, defaults={"slug": slug}, create_defaults={"organization": org, "slug": slug}
        )
        touch_facts(org)
        audit.record(org=org, actor=actor, action="names.mapped", subject=f"{kind}:{name}", data={"slug": slug})
    return alias


def check_mapping(org: Organization, *, kind: str, name: str, slug: str) -> None:
    """Whether the name can be mapped so, inside `tenant(org)`. Raises what `map_name` raises."""
    known = {
        "team": selectors.team_by_slug,
        "project": selectors.project_by_slug,
        "workflow": selectors.workflow_by_slug,
    }
    if kind not in known:
        raise kind_unknown(kind)
    check_name(kind, "name", name)
    if known[kind](org, slug) is None:
        raise NotFound(kind)
    if known[kind](org, name) is not None:
        raise DomainError("name_known", f"'{name}' is itself a {kind}; only unknown names are mapped.", param="name")


def kind_unknown(kind: str) -> DomainError:
    return DomainError("kind_unknown", f"'{kind[:64]}' is not one of team, project, workflow.", param="kind")


def remove_alias(*, org: Organization, kind: str, name: str, actor: object) -> None:
    """From now on the name means nothing; spend that it moved stays where it is. Raises `NotFound`."""
    could_be = kind in KINDS and is_name(name, NAME_LENGTH_MAX)
    with tenant(org):
        alias = Alias.objects.for_org(org).filter(kind=kind, name=name).first() if could_be else None
        if alias is None:
            raise NotFound("alias")
        alias.delete()
        touch_facts(org)
        audit.record(org=org, actor=actor, action="names.unmapped", subject=f"{kind}:{name}", data={"slug": alias.slug})


def create_on_first_sight(
    *, org: Organization, seen: Iterable[tuple[str | None, str | None, str | None]], actor: object
) -> None:
    """Create what these (team, project, workflow) triples name and the organization does not know.

    A project is owned by the team it is first seen with, since ever; a workflow needs a project to hang on.
    """
    with tenant(org):
        # The organization's row first: batches that name the same things in other orders would deadlock.
        Organization.objects.select_for_update().get(pk=org.pk)
        created: list[str] = []
        for team_slug, project_slug, workflow_slug in sorted(set(seen), key=lambda triple: tuple(map(str, triple))):
            team = _get_or_create(Team, org, team_slug, created)
            project = _get_or_create(Project, org, project_slug, created)
            if project and team and not Ownership.objects.for_org(org).filter(project=project).exists():
                Ownership(organization=org, project=project, team=team, during=DateTimeTZRange(None, None)).save()
            if project and workflow_slug:
                _get_or_create(Workflow, org, workflow_slug, created, project=project)
        if created:
            touch_facts(org)
            audit.record(
                org=org, actor=actor, action="names.created_on_first_sight", subject=org.slug, data={"names": created}
            )


def _get_or_create(
    model: type[N], org: Organization, slug: str | None, created: list[str], **fields: object
) -> N | None:
    """The named row, made and noted in `created` where it was not there."""
    if slug is None:
        return None
    defaults = {"organization": org, "name": slug, **fields}
    row, is_new = model.objects.for_org(org).get_or_create(slug=slug, defaults=defaults)
    if is_new:
        created.append(f"{model.__name__.lower()} {slug}")
    return row


def _create(row: N, org: Organization, actor: object) -> N:
    kind = type(row).__name__.lower()
    for field in ("slug", "name"):
        check_name(kind, field, getattr(row, field))
    touch_facts(org)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise DomainError("slug_taken", f"There is a {kind} '{row.slug}' already.", param="slug") from None
    audit.record(org=org, actor=actor, action=f"{kind}s.created", subject=row.slug)
    return row


def check_name(kind: str, field: str, text: str) -> None:
    """Raises `DomainError` (`slug_invalid`, `name_invalid`) for what nothing can be called."""
    if not is_name(text, NAME_LENGTH_MAX):
        code = "slug_invalid" if field == "slug" else "name_invalid"
        detail = f"A {kind} needs a {field} of 1 to {NAME_LENGTH_MAX} printable characters."
        raise DomainError(code, detail, param=field)
