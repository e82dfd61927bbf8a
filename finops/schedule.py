"""Every periodic job on one page. Beat only ticks; each task finds its own work in Postgres."""

from celery.schedules import crontab, schedule

SCHEDULE = {
    # Pending deltas that a lost hint left behind: costs delay, never money.
    "sweep-rollups": {"task": "usage.sweep", "schedule": schedule(30.0), "options": {"expires": 30}},
    # Names that became known: the spend of events that came before moves by postings.
    "known-names": {"task": "usage.attribute_known_names", "schedule": schedule(60.0), "options": {"expires": 60}},
    # Re-ratings under way: each goes on where its last batch ended.
    "reratings": {"task": "usage.continue_reratings", "schedule": schedule(30.0), "options": {"expires": 30}},
    # Exports that a lost hint or a dead worker left behind; files whose week is over.
    "exports": {"task": "reports.continue_exports", "schedule": schedule(60.0), "options": {"expires": 60}},
    # Months that are fenced and wait for their proof, or close themselves.
    "close-months": {"task": "reports.close_months", "schedule": crontab(minute="*/5"), "options": {"expires": 300}},
    # Crossings that nobody was told of, and messages that are due.
    "alerts": {"task": "alerts.tell_everybody", "schedule": schedule(30.0), "options": {"expires": 30}},
    # Statements of months that became final, digests, and mails that wait for their next try.
    "statement-mails": {"task": "alerts.mail_statements", "schedule": schedule(60.0), "options": {"expires": 60}},
    "old-deliveries": {"task": "alerts.forget_old", "schedule": crontab(minute=29, hour=3)},
    # events + postings = rollups + pending deltas, for every organization.
    "reconcile": {
        "task": "usage.reconcile_all",
        "schedule": crontab(minute="*/15"),
        "options": {"expires": 900},
    },
    # Days that are over, by what only events hold: operations, tags, runs.
    "facets": {"task": "usage.sum_up_all_days", "schedule": crontab(minute=47), "options": {"expires": 3000}},
    # What the month comes to, of every workflow.
    "months-ahead": {"task": "usage.forecast_all", "schedule": crontab(minute=7), "options": {"expires": 3000}},
    # Holds and raises whose time is over.
    "budgets": {"task": "budgets.tend", "schedule": schedule(10.0), "options": {"expires": 10}},
    # Postings that budgets have not counted.
    "postings": {"task": "budgets.count_postings", "schedule": schedule(10.0), "options": {"expires": 10}},
    # Counters = events + postings, and what is held = reservations.
    "reconcile-budgets": {"task": "budgets.reconcile", "schedule": crontab(minute="*/15"), "options": {"expires": 900}},
    # Budgets whose forecast or run rate reaches a forecast threshold.
    "forecasts": {"task": "budgets.cross_forecasts", "schedule": crontab(minute="*/5"), "options": {"expires": 300}},
    # Signals of the last whole hour, for every organization; what a lost tick left is made up for by the next.
    "signals": {"task": "insights.evaluate_all", "schedule": crontab(minute=6), "options": {"expires": 3000}},
    # Runs that run away: with the tick of alerts, somebody is told within a minute.
    "runaway-runs": {"task": "insights.look_at_runs", "schedule": schedule(20.0), "options": {"expires": 20}},
    # The same, and budgets that burn.
    "runaways": {"task": "insights.look", "schedule": crontab(minute="*/5"), "options": {"expires": 300}},
    # Readings and incidents of long ago; once a month, the gate that feedback moves.
    "old-signals": {"task": "insights.forget", "schedule": crontab(minute=53, hour=3)},
    # What steps usually cost, for decisions that do not say.
    "step-costs": {"task": "budgets.reckon_step_costs", "schedule": crontab(minute=23), "options": {"expires": 3600}},
    # Live plans, held against the runs of their workflows.
    "calibrate-plans": {"task": "planner.calibrate", "schedule": crontab(minute=53, hour=2)},
    # Runs that nobody ended, reservations of long ago.
    "forget-runs": {"task": "budgets.forget", "schedule": crontab(minute=37, hour=2)},
    # Deleted organizations whose month of grace is over.
    "closing": {"task": "organizations.close_due", "schedule": crontab(minute=11)},
    # What workflows could save: hourly asked, weekly answered, so that an organization's turn may come at any hour.
    "find-savings": {"task": "insights.find_all_savings", "schedule": crontab(minute=53), "options": {"expires": 3000}},
    # What changes that took effect 14 or 30 days ago really saved.
    "measure-savings": {"task": "insights.measure_savings", "schedule": crontab(minute=19, hour=5)},
    # What waits, as figures for whoever runs the installation.
    "measure-usage": {"task": "usage.measure", "schedule": schedule(60.0), "options": {"expires": 60}},
    "measure-budgets": {"task": "budgets.measure", "schedule": schedule(60.0), "options": {"expires": 60}},
    "measure-alerts": {"task": "alerts.measure", "schedule": schedule(60.0), "options": {"expires": 60}},
    # Operators who look as a member, and whose time is over.
    "impersonations": {
        "task": "organizations.end_impersonations",
        "schedule": schedule(60.0),
        "options": {"expires": 60},
    },
    # Partitions three months ahead, retention behind.
    "partitions": {"task": "usage.maintain_partitions", "schedule": crontab(minute=17, hour=3)},
    # What people decided on prices under review.
    "decisions": {"task": "pricing.publish_decisions", "schedule": schedule(60.0), "options": {"expires": 60}},
    # New prices of the installed sources; what would change a price in force waits for a person.
    "catalog": {"task": "pricing.load_catalog", "schedule": crontab(minute=41, hour=4, day_of_week="mon")},
}
