"""The back office: Django's admin, for operators. It shows; what it changes, services do."""

from apps.accounts.models import Impersonation, StaffAct, User
from apps.organizations.models import Organization
from apps.portal.staff.organizations import OrganizationAdmin
from apps.portal.staff.people import PersonAdmin
from apps.portal.staff.records import ImpersonationAdmin, StaffActAdmin
from apps.portal.staff.site import StaffSite

staff = StaffSite(name="staff")
staff.register(Organization, OrganizationAdmin)
staff.register(User, PersonAdmin)
staff.register(Impersonation, ImpersonationAdmin)
staff.register(StaffAct, StaffActAdmin)
