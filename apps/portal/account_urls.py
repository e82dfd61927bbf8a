"""Addresses of allauth that lead to views of our own, before allauth's: where identity providers are spoken with, of
which none of allauth's is left to answer, and where a person is signed in.
"""

from typing import NoReturn

from allauth.socialaccount.providers.openid_connect import views as oidc
from allauth.socialaccount.providers.saml import views as saml
from django.http import Http404, HttpRequest
from django.urls import path, re_path
from django.views.generic import RedirectView

from apps.portal.sso import metadata, soft
from apps.portal.views.account import SessionsView


def nothing(request: HttpRequest, **_named: str) -> NoReturn:
    """Of allauth's, such as the one that signs out whoever follows a link to it."""
    raise Http404


# Where allauth would begin a sign-in, or a link to the account of who is signed in, by a GET from anywhere.
begin = RedirectView.as_view(pattern_name="portal:sso_go")

urlpatterns = [
    path("sessions/", SessionsView.as_view(), name="usersessions_list"),
    path("oidc/<slug:slug>/login/", begin, name="openid_connect_login"),
    path("oidc/<slug:provider_id>/login/callback/", soft(oidc.callback), name="openid_connect_callback"),
    path("saml/<slug:slug>/login/", begin, name="saml_login"),
    path("saml/<slug:organization_slug>/acs/", soft(saml.acs), name="saml_acs"),
    path("saml/<slug:organization_slug>/acs/finish/", soft(saml.finish_acs), name="saml_finish_acs"),
    path("saml/<slug:organization_slug>/metadata/", soft(metadata), name="saml_metadata"),
    re_path(r"^(?:oidc|saml)/", nothing),
]
