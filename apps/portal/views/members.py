"""Members of an organization: who they are, inviting them, their roles."""

from datetime import datetime

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect

from apps.accounts.selectors import with_second_factor
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations import members as people
from apps.organizations.invitation_mail import send_invitation
from apps.organizations.models import Invitation, Membership
from apps.organizations.permissions import ROLE_LABELS, ROLE_MEANS, Permission, Role
from apps.organizations.selectors import find_members, open_invitations
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_people import InvitationRow, MemberForm, MemberRow, MembersPage, RoleChoice, TeamChoice
from apps.portal.pages_prices import FormError
from apps.teams.selectors import list_teams

MEMBERS_SHOWN = 200
TEAMS_OFFERED = 500

_form_page = organization_page(
    section="members", permission=Permission.MANAGE_MEMBERS, writes=Permission.MANAGE_MEMBERS, is_sensitive=True
)
_act = organization_page(
    section="members",
    permission=Permission.MANAGE_MEMBERS,
    writes=Permission.MANAGE_MEMBERS,
    is_act=True,
    is_sensitive=True,
)


@organization_page(section="members", permission=Permission.VIEW_MEMBERS, within_team=True)
def members(visit: Visit) -> HttpResponse:
    search = str(visit.request.GET.get("q", ""))[:100].strip()
    rows, count = find_members(visit.org, search=search, limit=MEMBERS_SHOWN)
    protected = with_second_factor(row.user_id for row in rows)
    may_manage = visit.may(Permission.MANAGE_MEMBERS)
    invitations = []
    if may_manage:
        with tenant(visit.org):
            invitations = open_invitations(visit.org)
    page = MembersPage(
        rows=tuple(_row(visit, row, row.user_id in protected) for row in rows),
        count=count,
        search=search,
        invitations=tuple(_invitation_row(visit, invitation, visit.at) for invitation in invitations),
        may_manage=may_manage,
        requires_second_factor=visit.org.requires_second_factor,
    )
    return visit.render("portal/members.html", frame=visit.frame("Members", Crumb("Members")), members=page)


def _row(visit: Visit, row: Membership, has_second_factor: bool) -> MemberRow:
    return MemberRow(
        email=row.user.email,
        name=row.user.name,
        is_you=row.user_id == visit.user.pk,
        role=ROLE_LABELS[row.role],
        teams=tuple(row.teams),
        has_second_factor=has_second_factor,
        joined_at=row.joined_at,
        edit_url=visit.url_below("members", str(row.pk)) if _is_within_reach(visit, row.role) else "",
    )


def _is_within_reach(visit: Visit, role: str) -> bool:
    is_above = role == Role.OWNER and visit.membership.role != Role.OWNER
    return visit.may(Permission.MANAGE_MEMBERS) and not is_above


def _invitation_row(visit: Visit, invitation: Invitation, at: datetime) -> InvitationRow:
    below = f"{visit.url('members')}/invitations/{invitation.pk}"
    return InvitationRow(
        email=invitation.email,
        role=ROLE_LABELS[invitation.role],
        teams=tuple(invitation.teams),
        created_by=invitation.created_by,
        expires_at=invitation.expires_at,
        is_expired=invitation.expires_at <= at,
        again_url=f"{below}/again",
        revoke_url=f"{below}/revoke",
        may_change=_is_within_reach(visit, invitation.role),
    )


@_form_page
def member_invite(visit: Visit) -> HttpResponse:
    email, role, error = "", str(Role.VIEWER), None
    teams: list[str] = []
    if visit.request.method == "POST":
        email, role, teams = _given(visit)
        try:
            issued = people.invite(
                org=visit.org, email=email, role=role, teams=teams, actor=visit.user, by_role=visit.membership.role
            )
            return _mailed(visit, issued)
        except DomainError as wrong:
            error = FormError.of(wrong)
    form = _form(visit, email, role, teams, error)
    crumbs = (Crumb("Members", visit.url("members")), Crumb("Invite"))
    return visit.render(
        "portal/member_invite.html", frame=visit.frame("Invite a person", *crumbs), form=form, error=error
    )


def _mailed(visit: Visit, issued: people.IssuedInvitation) -> HttpResponse:
    address = issued.invitation.email
    if send_invitation(visit.org, issued):
        messages.info(visit.request, f"An invitation is on its way to {address}.")
    else:
        messages.warning(
            visit.request,
            f"The mail server did not take the invitation to {address}: it is below. Send it again in a while.",
        )
    return HttpResponseRedirect(visit.url("members"))


@_act
def invitation_act(visit: Visit, invitation_id: int, act: str) -> HttpResponse:
    """Send it again, with a new link, or revoke it."""
    with tenant(visit.org):
        found = next((one for one in open_invitations(visit.org) if one.pk == invitation_id), None)
    if found is None or act not in ("again", "revoke"):
        raise NotFound("invitation")
    if act == "again":
        issued = people.invite(
            org=visit.org,
            email=found.email,
            role=found.role,
            teams=found.teams,
            actor=visit.user,
            by_role=visit.membership.role,
        )
        return _mailed(visit, issued)
    people.revoke_invitation(
        org=visit.org, invitation_id=invitation_id, actor=visit.user, by_role=visit.membership.role
    )
    messages.info(visit.request, f"The link that {found.email} got no longer works.")
    return HttpResponseRedirect(visit.url("members"))


@_form_page
def member(visit: Visit, member_id: int) -> HttpResponse:
    row = _member(visit, member_id)
    role, teams, error = row.role, list(row.teams), None
    if visit.request.method == "POST":
        _, role, teams = _given(visit)
        try:
            people.change_role(
                org=visit.org,
                member_id=member_id,
                role=role,
                teams=teams,
                actor=visit.user,
                by_role=visit.membership.role,
            )
            messages.info(visit.request, f"{row.user.email} is {ROLE_LABELS[role].lower()} now.")
            return HttpResponseRedirect(visit.url("members"))
        except DomainError as wrong:
            error = FormError.of(wrong)
    form = _form(visit, row.user.email, role, teams, error, row)
    crumbs = (Crumb("Members", visit.url("members")), Crumb(row.user.email))
    return visit.render("portal/member.html", frame=visit.frame(row.user.email, *crumbs), form=form, error=error)


@_act
def member_remove(visit: Visit, member_id: int) -> HttpResponse:
    row = _member(visit, member_id)
    people.remove_member(org=visit.org, member_id=member_id, actor=visit.user, by_role=visit.membership.role)
    messages.info(visit.request, f"{row.user.email} is no longer a member.")
    return HttpResponseRedirect(visit.url("members") if row.user_id != visit.user.pk else "/")


@organization_page(
    section="members",
    permission=Permission.MANAGE_MEMBERS,
    writes=Permission.MANAGE_ORGANIZATION,
    is_act=True,
    is_sensitive=True,
)
def member_transfer(visit: Visit, member_id: int) -> HttpResponse:
    """Hand the organization over to this member."""
    taker = people.transfer_ownership(org=visit.org, member_id=member_id, owner=visit.user)
    messages.info(visit.request, f"{taker.user.email} owns {visit.org.name} now; you are an admin of it.")
    return HttpResponseRedirect(visit.url("members"))


def _member(visit: Visit, member_id: int) -> Membership:
    row = Membership.objects.select_related("user").filter(organization=visit.org, pk=member_id).first()
    if row is None:
        raise NotFound("member")
    return row


def _given(visit: Visit) -> tuple[str, str, list[str]]:
    post = visit.request.POST
    return (
        str(post.get("email", ""))[:300].strip(),
        str(post.get("role", ""))[:20],
        [str(team)[:300] for team in post.getlist("teams")[: people.TEAMS_MAX + 1]],
    )


def _form(
    visit: Visit, email: str, role: str, teams: list[str], error: FormError | None, row: Membership | None = None
) -> MemberForm:
    with tenant(visit.org):
        known = [team.slug for team in list_teams(visit.org)[:TEAMS_OFFERED]]
    # A team that a lead leads stays offered, whatever became of it.
    offered = list(dict.fromkeys([*known, *(row.teams if row else ())]))
    below = visit.url_below("members", str(row.pk)) if row else ""
    may_hand_over = row is not None and row.user_id != visit.user.pk and row.role != Role.OWNER
    return MemberForm(
        email=email,
        roles=tuple(
            RoleChoice(value, ROLE_LABELS[value], ROLE_MEANS[value], value == role)
            for value in Role.values
            if value != Role.OWNER or visit.membership.role == Role.OWNER
        ),
        teams=tuple(TeamChoice(slug, slug in teams) for slug in offered),
        error=error,
        remove_url=f"{below}/remove" if row else "",
        transfer_url=f"{below}/transfer" if may_hand_over and visit.may(Permission.MANAGE_ORGANIZATION) else "",
    )
