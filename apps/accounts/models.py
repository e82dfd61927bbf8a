from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

LOOKING_LASTS_MAX = timedelta(hours=1)


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """A person who signs in; what they may do in an organization is decided by their memberships.

    An operator looks after the installation itself: its price catalog is the same for every organization.
    """

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=150, blank=True)
    is_active = models.BooleanField(default=True)
    is_operator = models.BooleanField(default=False)
    date_joined = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()

    class Meta:
        verbose_name, verbose_name_plural = "person", "people"
        constraints = [models.UniqueConstraint(Lower("email"), name="accounts_user_email_any_case")]

    def __str__(self) -> str:
        return self.email

    # What Django's admin asks of a person.

    @property
    def is_staff(self) -> bool:
        return self.is_active and self.is_operator

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return self.is_staff

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_staff


class StaffAct(models.Model):
    """What an operator did to an organization or a person, and why. Rows are only ever added."""

    at = models.DateTimeField()
    operator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    action = models.CharField(max_length=100)
    subject = models.CharField(max_length=320)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        verbose_name = "act of staff"
        verbose_name_plural = "acts of staff"
        # Newest first.
        indexes = [models.Index(fields=["-at"], name="accounts_staffact_newest")]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


class Impersonation(models.Model):
    """An operator looks as a member of an organization. Rows are only ever added, and outlive the organization, of
    which they keep the slug: that is never given to another.
    """

    operator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    member = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    organization = models.CharField(max_length=60)
    reason = models.CharField(max_length=500)
    began_at = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        # Newest first.
        indexes = [models.Index(fields=["-began_at"], name="accounts_looking_newest")]
        constraints = [
            models.CheckConstraint(
                condition=Q(until__gt=F("began_at"), until__lte=F("began_at") + LOOKING_LASTS_MAX),
                name="accounts_looking_is_short",
            ),
            models.CheckConstraint(condition=~Q(operator=F("member")), name="accounts_looking_as_another"),
        ]

    def __str__(self) -> str:
        return f"{self.operator_id} as {self.member_id} in {self.organization}"


class ImpersonationEnd(models.Model):
    """When it ended, and how: a row of its own, so that both are only ever added and there is one end."""

    class How(models.TextChoices):
        ENDED = "ended", "ended by hand"
        TIME = "time", "its time was over"
        SIGNED_OUT = "signed_out", "the operator signed out"
        RIGHTS = "rights", "the operator's rights ended"
        MEMBERSHIP = "membership", "the membership ended"
        REPLACED = "replaced", "the operator began another"

    impersonation = models.OneToOneField(Impersonation, on_delete=models.PROTECT, primary_key=True, related_name="end")
    at = models.DateTimeField()
    how = models.CharField(max_length=10, choices=How)

    def __str__(self) -> str:
        return f"{self.impersonation_id} {self.how}"
