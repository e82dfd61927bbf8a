from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from apps.api import errors
from apps.api.v1 import ingestion, keys, names, spend, statements

app_name = "api"
urlpatterns = [
    path("events", ingestion.events, name="events"),
    path("spend", spend.SpendView.as_view(), name="spend"),
    path("statements", statements.StatementsView.as_view(), name="statements"),
    path("statements.csv", statements.StatementsCsvView.as_view(), name="statements_csv"),
    path("statements/<path:statement_id>.csv", statements.StatementCsvView.as_view(), name="statement_csv"),
    path("statements/<path:statement_id>", statements.StatementView.as_view(), name="statement"),
    path("teams", names.TeamsView.as_view(), name="teams"),
    path("projects", names.ProjectsView.as_view(), name="projects"),
    path("projects/<str:slug>/move", names.ProjectMoveView.as_view(), name="project_move"),
    path("aliases", names.AliasesView.as_view(), name="aliases"),
    path("workflows", names.WorkflowsView.as_view(), name="workflows"),
    path("keys", keys.KeysView.as_view(), name="keys"),
    path("keys/<int:key_id>/revoke", keys.KeyRevokeView.as_view(), name="key_revoke"),
    path("schema", SpectacularAPIView.as_view(authentication_classes=[], permission_classes=[]), name="schema"),
    path(
        "docs",
        SpectacularSwaggerSplitView.as_view(url_name="api:schema", authentication_classes=[], permission_classes=[]),
        name="docs",
    ),
    re_path(r"^.*$", errors.not_found),
]
