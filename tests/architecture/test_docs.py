"""The documents say what the code does: variables, codes, commands, names and links are compared with it."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from apps.api.v1.spend import KNOWN
from apps.ingest.record import UsageRecord
from apps.organizations.permissions import Role, Scope
from apps.reports.papers.rows import COLUMNS
from apps.usage.selectors import known_filters

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "docs" / "runbook.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = sorted({*ROOT.glob("*.md"), *PAGES, *(ROOT / "apps").rglob("*.md"), *(ROOT / "clients").rglob("*.md")})
COMMANDS = sorted(p.stem for p in ROOT.glob("apps/*/management/commands/*.py") if p.stem != "__init__")
# Where a code stands among the arguments of what raises or answers it.
CODE_AT = {
    "DomainError": 0,
    "BillError": 0,
    "UsageError": 0,
    "Unreadable": 0,
    "BodyError": 1,
    "Problem": 1,
    "Rejection": 2,
    "EventResult": 3,
    "_error": 0,
    "_refusal": 0,
}
CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+|invalid|error|unpriced")

Function = ast.FunctionDef | ast.Module


def text_of(paths: Iterable[Path]) -> str:
    return "\n".join(path.read_text() for path in paths)


def missing(names: Iterable[str], text: str) -> list[str]:
    """Names that do not stand in the text as code."""
    written = set(re.findall(r"[\w.]+", " ".join(re.findall(r"`[^`\n]+`", text))))
    return sorted(set(names) - written)


@cache
def modules() -> dict[Path, ast.Module]:
    return {
        path: ast.parse(path.read_text())
        for folder in ("apps", "finops", "bench")
        for path in (ROOT / folder).rglob("*.py")
    }


# --- environment variables ---------------------------------------------------------------------------


def read_by_python(tree: ast.Module) -> Iterator[str]:
    """Names given to env_str and its like, to os.environ.get and to os.environ[...]."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=reader), args=[ast.Constant(value=str(name)), *_]) if reader.startswith(
                "env_"
            ):
                yield name
                if reader == "env_secret":
                    yield f"{name}_FILE"
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name
            case ast.Subscript(
                value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name)), ctx=ast.Load()
            ):
                yield name


def variables() -> set[str]:
    """Every variable that the code, the Procfile, the Makefile, Docker and the roles' script read."""
    trees = [tree for path, tree in modules().items() if "migrations" not in path.parts]
    trees.append(ast.parse((ROOT / "tests" / "browser_binary.py").read_text()))
    names = {name for tree in trees for name in read_by_python(tree)}
    for path in ("Procfile", "docker/compose.yaml", "docker/entrypoint.sh"):
        names |= set(re.findall(r"\$\{([A-Z][A-Z_]+)", (ROOT / path).read_text()))
    makefile = (ROOT / "Makefile").read_text()
    names |= set(re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE)) | set(
        re.findall(r"\$\$\{([A-Z][A-Z_]+)", makefile)
    )
    names |= set(re.findall(r"\\getenv \w+ ([A-Z_]+)", (ROOT / "docker/postgres/roles.sql").read_text()))
    return names - {"DJANGO_SETTINGS_MODULE"}


def documented_variables() -> set[str]:
    section = RUNBOOK.read_text().partition("\n## Environment\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[A-Z].*?) \|", section, re.MULTILINE)
    return set(re.findall(r"[A-Z][A-Z_]+", " ".join(rows)))


def test_every_environment_variable_stands_in_the_runbook() -> None:
    assert variables() - documented_variables() == set(), "Add a row to a table of docs/runbook.md, Environment."


def test_every_variable_in_the_runbook_is_read() -> None:
    assert documented_variables() - variables() == set(), "Take the row out of docs/runbook.md, Environment."


def test_the_example_names_only_what_is_read() -> None:
    named = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert named - variables() == set()


# --- codes -------------------------------------------------------------------------------------------


def constants(node: ast.expr | None, around: Function, everything: Iterable[ast.Module]) -> Iterator[str]:
    """The texts that an expression may be, as far as the code shows them."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from constants(body, around, everything)
            yield from constants(other, around, everything)
        case ast.Call(func=ast.Attribute(value=ast.Dict(values=values), attr="get"), args=[_, default]):
            for value in (*values, default):
                yield from constants(value, around, everything)
        case ast.JoinedStr(values=[ast.FormattedValue(value=ast.Name(id=name)), ast.Constant(value=str(end))]):
            for value in values_of(name, around, everything):
                yield f"{value}{end}"
        case ast.Name(id=name):
            yield from values_of(name, around, everything)


def values_of(name: str, around: Function, everything: Iterable[ast.Module]) -> Iterator[str]:
    """What a name in a function is given: by assignment, by a loop over constants, or by its callers."""
    for node in ast.walk(around):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield from constants(value, around, everything)
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id=target), *_])], value=ast.Tuple(elts=[value, *_])) if (
                target == name
            ):
                yield from constants(value, around, everything)
            case ast.For(target=ast.Name(id=target), iter=ast.Tuple(elts=values)) if target == name:
                yield from (value.value for value in values if isinstance(value, ast.Constant))
    if isinstance(around, ast.FunctionDef):
        place = next((index for index, one in enumerate(around.args.args) if one.arg == name), None)
        if place is not None:
            yield from given_by_callers(around.name, place, everything)


def given_by_callers(function: str, place: int, everything: Iterable[ast.Module]) -> Iterator[str]:
    for tree in everything:
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and called(call) == function and len(call.args) > place:
                value = call.args[place]
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def codes() -> set[str]:
    """Every code that an answer of the API may carry."""
    everything = [tree for path, tree in modules().items() if path.is_relative_to(ROOT / "apps")]
    found: set[str] = set()
    for tree in everything:
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for around in (*functions, tree):
            for call in ast.walk(around):
                if (
                    isinstance(call, ast.Call)
                    and (place := CODE_AT.get(called(call))) is not None
                    and len(call.args) > place
                ):
                    found |= set(constants(call.args[place], around, everything))
        found |= {key for keys in status_tables(tree) for key in keys}
    return {code for code in found if CODE.fullmatch(code)}


def status_tables(tree: ast.Module) -> Iterator[list[str]]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="_STATUS")], value=ast.Dict(keys=keys)):
                yield [key.value for key in keys if isinstance(key, ast.Constant)]


def test_it_finds_codes_of_every_kind() -> None:
    """One of each way in which a code is written: otherwise the next test would pass by blindness."""
    ways = {
        "key_missing",
        "occurred_at_too_old",
        "usage_inconsistent",
        "gzip_invalid",
        "store_unavailable",
        "limit_invalid",
    }
    ways |= {
        "from_invalid",
        "slug_invalid",
        "method_not_allowed",
        "event_conflict",
        "unpriced",
        "pinned_dimension",
        "out_of_range",
    }
    assert ways - codes() == set()


def test_every_code_stands_in_a_page() -> None:
    assert missing(codes(), text_of(PAGES)) == [], "Add it to a table of codes in docs/ingestion.md or docs/spend.md."


# --- names of the contract ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_stands_in_a_document(command: str) -> None:
    assert re.search(rf"manage\.py {command}\b", text_of(DOCUMENTS)), f"Say in docs what manage.py {command} is for."


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("ingestion.md", UsageRecord.__struct_fields__),
        ("ingestion.md", [scope.value for scope in Scope]),
        ("spend.md", KNOWN),
        ("spend.md", known_filters()),
        ("chargeback.md", COLUMNS),
        ("runbook.md", ["usage_event_default"]),
    ],
    ids=["fields", "scopes", "dimensions", "filters", "columns", "tables"],
)
def test_the_page_names_what_there_is(page: str, names: Iterable[str]) -> None:
    kept_inside = {"quantities", "fingerprint"}
    assert missing(set(names) - kept_inside, (ROOT / "docs" / page).read_text()) == []


def test_the_page_names_every_role() -> None:
    page = (ROOT / "docs" / "people.md").read_text()
    assert [role.value for role in Role if role.value not in page] == []


# --- links -------------------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """What forges make of a heading: small letters, no punctuation, hyphens for spaces."""
    bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().replace("`", "")
    return re.sub(r"[^\w\- ]", "", bare).replace(" ", "-")


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)}


def broken_links(path: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"\w+:", target):
            continue
        file, _, fragment = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (fragment and fragment not in anchors(there)):
            yield target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert list(broken_links(path)) == []


@pytest.mark.parametrize("path", sorted(p for p in PAGES if p.parent == ROOT / "docs"), ids=lambda path: path.name)
def test_every_page_is_reached(path: Path) -> None:
    linked = [
        target
        for document in DOCUMENTS
        if document != path
        for target in re.findall(r"\]\(([^)#\s]+)", prose(document))
    ]
    assert any(Path(target).name == path.name for target in linked), "Link to it from the README or from another page."
