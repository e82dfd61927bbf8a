from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from apps.api import errors
from apps.api.v1 import contracts, explain, ingestion, keys, names, prices, reratings, spend, statements, unpriced

app_name = "api"
urlpatterns = [
    path("events", ingestion.events, name="events"),
    path("events/<path:event_id>/explain", explain.ExplainView.as_view(), name="event_explain"),
    path("prices", prices.PricesView.as_view(), name="prices"),
    path("prices/<str:provider>/<path:model>", prices.PriceHistoryView.as_view(), name="price_history"),
    path("unpriced", unpriced.UnpricedView.as_view(), name="unpriced"),
    path("cost-differences", unpriced.CostDifferencesView.as_view(), name="cost_differences"),
    path("prices/quote", prices.QuoteView.as_view(), name="price_quote"),
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
    path("contracts", contracts.ContractsView.as_view(), name="contracts"),
    path("contracts/<int:contract_id>", contracts.ContractView.as_view(), name="contract"),
    path("contracts/<int:contract_id>/end", contracts.ContractEndView.as_view(), name="contract_end"),
    path("model-aliases", contracts.ModelAliasesView.as_view(), name="model_aliases"),
    path("model-aliases/<int:alias_id>", contracts.ModelAliasView.as_view(), name="model_alias"),
    path("reratings", reratings.ReratingsView.as_view(), name="reratings"),
    path("reratings/<uuid:rerating_id>", reratings.ReratingView.as_view(), name="rerating"),
    path("reratings/<uuid:rerating_id>/post", reratings.ReratingPostView.as_view(), name="rerating_post"),
    path("reratings/<uuid:rerating_id>/stop", reratings.ReratingStopView.as_view(), name="rerating_stop"),
    path("reratings/<uuid:rerating_id>/resume", reratings.ReratingResumeView.as_view(), name="rerating_resume"),
    path("schema", SpectacularAPIView.as_view(authentication_classes=[], permission_classes=[]), name="schema"),
    path(
        "docs",
        SpectacularSwaggerSplitView.as_view(url_name="api:schema", authentication_classes=[], permission_classes=[]),
        name="docs",
    ),
    re_path(r"^.*$", errors.not_found),
]
