"""Addresses of allauth that lead to views of our own, before allauth's: where identity providers are spoken with, and
where a person is signed in.
"""

from allauth.socialaccount.providers.openid_connect import views as oidc
from allauth.socialaccount.providers.saml import views as saml
from django.urls import path

from apps.portal.sso import soft
from apps.portal.views.account import SessionsView

urlpatterns = [
    path("sessions/", SessionsView.as_view(), name="usersessions_list"),
    path("oidc/<str:provider_id>/login/", soft(oidc.login), name="openid_connect_login"),
    path("oidc/<str:provider_id>/login/callback/", soft(oidc.callback), name="openid_connect_callback"),
    path("saml/<str:organization_slug>/login/", soft(saml.login), name="saml_login"),
    path("saml/<str:organization_slug>/acs/", soft(saml.acs), name="saml_acs"),
    path("saml/<str:organization_slug>/acs/finish/", soft(saml.finish_acs), name="saml_finish_acs"),
    path("saml/<str:organization_slug>/metadata/", soft(saml.metadata), name="saml_metadata"),
]
