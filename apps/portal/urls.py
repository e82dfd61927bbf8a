from django.urls import path

from apps.portal.views import attention, events, home, overview, spend, statements

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
]
