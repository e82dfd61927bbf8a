from django.urls import path

from apps.portal.views import (
    attention,
    contracts,
    events,
    home,
    overview,
    prices,
    reratings,
    reviews,
    spend,
    statements,
)

app_name = "portal"
urlpatterns = [
    path("", home.home, name="home"),
    path("o/", home.home, name="switch"),
    path("o/<slug:slug>/", overview.overview, name="overview"),
    path("o/<slug:slug>/spend", spend.explorer, name="spend"),
    path("o/<slug:slug>/events", events.events, name="events"),
    path("o/<slug:slug>/events/<path:event_id>", events.event, name="event"),
    path("o/<slug:slug>/statements", statements.statements, name="statements"),
    path("o/<slug:slug>/statements.csv", statements.statements_download, name="statements_csv"),
    path("o/<slug:slug>/statements/<path:statement_id>", statements.statement, name="statement"),
    path("o/<slug:slug>/unattributed", attention.unattributed, name="unattributed"),
    path("o/<slug:slug>/unpriced", attention.unpriced, name="unpriced"),
    path("o/<slug:slug>/declared", attention.declared, name="declared"),
    path("o/<slug:slug>/prices", prices.prices, name="prices"),
    path("o/<slug:slug>/prices/<str:provider>/<path:model>", prices.price, name="price"),
    path("o/<slug:slug>/contracts", contracts.contracts, name="contracts"),
    path("o/<slug:slug>/contracts/new", contracts.contract_new, name="contract_new"),
    path("o/<slug:slug>/contracts/end/<int:contract_id>", contracts.contract_end, name="contract_end"),
    path("o/<slug:slug>/contracts/aliases/<int:alias_id>", contracts.alias_remove, name="alias_remove"),
    path("o/<slug:slug>/reratings", reratings.reratings, name="reratings"),
    path("o/<slug:slug>/reratings/new", reratings.rerating_new, name="rerating_new"),
    path("o/<slug:slug>/reratings/<uuid:rerating_id>", reratings.rerating_page, name="rerating"),
    path("o/<slug:slug>/reratings/<uuid:rerating_id>/<slug:act>", reratings.rerating_act, name="rerating_act"),
    path("operator/prices", reviews.reviews, name="reviews"),
]
