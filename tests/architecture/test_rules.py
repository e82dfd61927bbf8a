"""Rules of the house that no linter knows. Each message says what to do instead; each rule is broken once below."""

import ast
import inspect
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from celery import current_app
from django.apps import apps

from apps.core.tenancy import TenantManager
from finops.schedule import SCHEDULE

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".html", ".txt", ".md", ".css", ".js", ".yaml", ".yml", ".toml", ".sql", ".sh", ".example", ""}

# Where money is computed, stored or shown.
MONEY = ("apps/core/money.py", "apps/pricing/", "apps/usage/", "apps/reports/", "apps/ingest/services.py", "apps/api/")
# Estimates of what is not spent yet, which become Decimal where they are stored or shown.
ESTIMATES = {
    "apps/usage/forecast.py": "the days ahead of a series",
    "apps/usage/forecast_bands.py": "what a period comes to, and how sure that is",
    "apps/usage/forecast_days.py": "the days behind and ahead",
    "apps/usage/forecast_prices.py": "what prices make of a day",
    "apps/usage/forecasting.py": "months, up to `usd`",
    "apps/usage/forecasts.py": "the odds of a limit",
    "apps/usage/planned.py": "what plans say of the days ahead",
    "apps/usage/forecast_sql.py": "series and errors, read as floats",
    "apps/api/v1/forecasts.py": "a probability",
}
# Where SQL may be executed, beside sql.py of each app.
SQL_HOMES = {
    "apps/usage/partitions.py": "DDL of partitions",
    "apps/api/health.py": "asks Postgres whether it answers",
}
# Read from the environment, yet nothing that an installation sets.
NOT_SET_BY_HAND = {
    "FINOPS_PROCESS": "the Procfile says which process it starts",
    "FINOPS_QUEUE": "the Procfile says which tasks a worker takes",
    "FINOPS_EMBEDDED": "set by what starts the embedded servers",
    "DEBUG": "for development, never for an installation",
}


@cache
def sources() -> dict[str, str]:
    """Path -> text of every text file of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    names = listed or [str(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*/**/*") if path.is_file()]
    paths = [ROOT / name for name in names if Path(name).suffix in TEXT and not name.endswith(".lock")]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths if path.is_file()}


def code(*prefixes: str) -> dict[str, str]:
    """The Python files below these paths, migrations aside."""
    return {
        name: text
        for name, text in sources().items()
        if name.endswith(".py") and name.startswith(prefixes) and "/migrations/" not in name
    }


# --- what the rules find in one file: (line, what) ---------------------------------------------------

Found = Iterator[tuple[int, str]]


def floats(text: str) -> Found:
    """Floats that are made, taken or written down; asking whether something is one is fine."""
    tree = ast.parse(text)
    asked = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
        for name in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "float" and node not in asked:
            yield node.lineno, "float"
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, repr(node.value)


def executed_sql(text: str) -> Found:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("execute", "executemany", "cursor", "raw", "extra", "RawSQL"):
                yield node.lineno, f"{name}()"


_TABLE = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+(?:(?:usage|audit|teams|organizations)_\w+|\{\w+\})")


def statements_without_organization(text: str) -> Found:
    """Top-level parts of a module that name a tenant's table, or a table by a variable, and no organization."""
    for node in ast.parse(text).body:
        part = ast.get_source_segment(text, node) or ""
        if (named := _TABLE.search(part)) and "organization_id" not in part:
            yield node.lineno, named[0]


def queries_beside_for_org(text: str) -> Found:
    tenants = {model.__name__ for model in apps.get_models() if type(model._meta.default_manager) is TenantManager}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            manager, model = node.value, getattr(node.value.value, "id", "")
            if manager.attr == "objects" and model in tenants and node.attr != "for_org":
                yield node.lineno, f"{model}.objects.{node.attr}"
        if isinstance(node, ast.Attribute) and node.attr in ("_base_manager", "_default_manager"):
            yield node.lineno, node.attr


def left_overs(text: str) -> Found:
    marks = re.compile(rf"\b(?:{'|'.join(('TO' + 'DO', 'FIX' + 'ME', 'X' * 3, 'HA' + 'CK'))})\b")
    for number, line in enumerate(text.splitlines(), start=1):
        if mark := marks.search(line):
            yield number, mark[0]


def workplaces(text: str) -> Found:
    """Paths of the machine that a file was written on, and numbers of a tracker."""
    places = re.compile(rf"/{'work'}/|\.\./{'shared'}\b|/{'root'}/|/home/\w+/|\b[Ii]ssues? #?\d")
    for number, line in enumerate(text.splitlines(), start=1):
        if place := places.search(line):
            yield number, place[0]


def check(find: Callable[[str], Found], files: dict[str, str], instead: str) -> None:
    offences = [f"{name}:{line}: {what}" for name, text in files.items() for line, what in find(text)]
    assert offences == [], instead


# --- the rules ---------------------------------------------------------------------------------------


def test_no_float_touches_money() -> None:
    exact = {name: text for name, text in code(*MONEY).items() if name not in ESTIMATES}
    check(floats, exact, "Use Decimal, or integers of the smallest unit: see apps/core/money.py.")


def test_every_estimate_is_there() -> None:
    assert sorted(set(ESTIMATES) - set(code(*MONEY))) == []


def test_sql_lives_in_sql_modules() -> None:
    files = {
        name: text
        for name, text in code("apps/").items()
        if not name.startswith("apps/core/") and not name.endswith("sql.py") and name not in SQL_HOMES
    }
    check(executed_sql, files, "Move the statement into the app's sql.py, or use for_org(org).")
    assert SQL_HOMES.keys() <= sources().keys(), "An exception names a file that is gone: take it off the list."


def test_every_statement_names_the_organization() -> None:
    files = {name: text for name, text in code("apps/").items() if name.endswith("sql.py")}
    assert files, "no sql.py found: this test looks in the wrong place"
    check(
        statements_without_organization,
        files,
        "Compare organization_id in the statement: row-level security is the second wall, not the only one.",
    )


def test_tenant_rows_are_asked_for_by_organization() -> None:
    files = {name: text for name, text in code("apps/").items() if name != "apps/core/tenancy.py"}
    check(queries_beside_for_org, files, "Start with Model.objects.for_org(org), inside `with tenant(org)`.")


def test_nothing_is_left_for_later() -> None:
    check(left_overs, sources(), "Do it, or file it where work is planned, and delete the mark.")


def test_no_word_of_the_workplace() -> None:
    check(workplaces, sources(), "Say what is so, not where or for which ticket it was written.")


def test_every_setting_is_described() -> None:
    read = set(re.findall(r"env_\w+\(\s*\"([A-Z_]+)\"", sources()["finops/settings.py"]))
    described = set(re.findall(r"^#?([A-Z_]+)=", sources()[".env.example"], re.MULTILINE))
    assert read - described - NOT_SET_BY_HAND.keys() == set(), "Describe the variable in .env.example."
    assert NOT_SET_BY_HAND.keys() - read == set(), "Nothing reads this variable any more: take it off the list."


def our_tasks() -> dict[str, object]:
    current_app.loader.import_default_modules()
    return {name: task for name, task in current_app.tasks.items() if not name.startswith("celery.")}


def test_every_beat_entry_names_a_task() -> None:
    ticked = {name: entry["task"] for name, entry in SCHEDULE.items() if entry["task"] not in our_tasks()}
    assert ticked == {}, "Write the task, or take the entry out of finops/schedule.py: beat would tick into the void."


def test_every_task_is_named_after_its_app() -> None:
    labels = {config.label for config in apps.get_app_configs()}
    unnamed = [name for name in our_tasks() if name.count(".") != 1 or name.split(".")[0] not in labels]
    assert unnamed == [], 'Name it: @shared_task(name="<app>.<verb_noun>").'


def test_tasks_take_ids() -> None:
    """Everything else is read again inside `tenant(organization_id)`."""
    for name, task in our_tasks().items():
        parameters = inspect.signature(task.run).parameters  # type: ignore[attr-defined]
        assert all(parameter.endswith("_id") for parameter in parameters), f"{name}: pass ids, read the rest again."
        assert not parameters or next(iter(parameters)) == "organization_id", f"{name}: the organization comes first."


# --- each rule finds what breaks it ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("find", "breach"),
    [
        (floats, "cost = float(text)"),
        (floats, "def f(cost: float) -> None: ..."),
        (floats, "cost = quantity * 0.1"),
        (executed_sql, "with connection.cursor() as c: ..."),
        (executed_sql, "c.execute('SELECT 1')"),
        (executed_sql, "Team.objects.raw('SELECT 1')"),
        (statements_without_organization, "def f():\n    execute('SELECT sum(events) FROM usage_delta')"),
        (statements_without_organization, "def f(table):\n    execute(f'DELETE FROM {table} LIMIT 5')"),
        (statements_without_organization, "SEAL = 'UPDATE usage_seal SET events = 0'"),
        (queries_beside_for_org, "Team.objects.all()"),
        (queries_beside_for_org, "rows = Event.objects.filter(team='x')"),
        (queries_beside_for_org, "Team._base_manager.get()"),
        (left_overs, "x = 1  # TO" + "DO later"),
        (workplaces, "open('/wo" + "rk/x')"),
        (workplaces, "see issue" + " 12"),
    ],
)
def test_the_rule_finds(find: Callable[[str], Found], breach: str) -> None:
    assert len(list(find(breach))) == 1


@pytest.mark.parametrize(
    ("find", "fine"),
    [
        (floats, "cost = Decimal('0.1') * 3"),
        (floats, "if isinstance(cost, (str, float)): raise TypeError"),
        (
            statements_without_organization,
            "def f():\n    execute('SELECT 1 FROM usage_run WHERE organization_id = %s')",
        ),
        (statements_without_organization, "def f():\n    execute('SELECT count(*) FROM taken')"),
        (queries_beside_for_org, "Team.objects.for_org(org).all()"),
        (queries_beside_for_org, "Organization.objects.filter(slug='x')"),
    ],
)
def test_the_rule_accepts(find: Callable[[str], Found], fine: str) -> None:
    assert list(find(fine)) == []
