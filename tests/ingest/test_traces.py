import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.meters import METERS
from apps.ingest import traces
from apps.ingest.body import EVENTS_MAX
from apps.ingest.demo import desk, places
from apps.ingest.record import Rejection, UsageRecord, Window, read_batch
from apps.ingest.timeline import DAY_MS, Shift, WorkingWeek, epoch_ms, instant
from apps.ingest.traces import KINDS, Event, TraceError, open_trace, provider_and_model

ROOT = Path(__file__).parents[2]
FULL_TRACES = ROOT.parent / "shared" / "data"
SAMPLE = Path(places.__file__).parent / "sample"
SAMPLE_BYTES_MAX = 2_000_000

END = datetime(2026, 5, 20, 12, tzinfo=UTC)

AGENT_HEADER = (
    "conversation_id,agent_id,subagent_type,call_idx,user_turn,t_s,model,mode,input_tokens,cached_input_tokens,"
    "cached_input_tokens_ttl5m,cached_input_tokens_ttl1h,output_tokens,input_kind,output_kind,stop_reason,api_s,"
    "ttft_s,think_s"
)
AGENT_CSV = f"""{AGENT_HEADER}
trace_0002,main,,0,1,0.0,claude-opus-4-5,sync,15818,0,0,0,154,text,text+tool_use,tool_use,5.23,,0.0
trace_0002,main,,1,1,9.0,claude-opus-4-5,sync,16003,15808,15808,15808,99,tool_result,tool_use,,,,3.0
trace_0002,agent_001,Explore,0,1,12.5,claude-haiku-4-5,sync,900,0,0,0,7,text,text,end_turn,1.07,,0.0
"""
AIDER_CSV = """time_unix,time_utc,user_id,session_id,main_model,weak_model,editor_model,edit_format,\
prompt_tokens,completion_tokens,total_tokens,cost_usd,session_total_cost_usd
1740000000,x,u1,u1-s1,anthropic/claude-3-7-sonnet,,,diff,638,25,663,1.4999999999999999e-05,0
1740000060,x,u1,u1-s1,openrouter/REDACTED,,,ask,100,0,100,0,0
1740000060,x,u1,u1-s1,openrouter/REDACTED,,,ask,100,0,100,0,0
"""
AZURE_CSV = """timestamp,service,input_tokens,output_tokens
2023-11-16 18:15:46.680,conv,374,44
2023-11-16 18:15:50.995,code,396,109
"""
RESAMPLED_CSV = """t_s,client_id,input_tokens,output_tokens,reasoning_tokens
28800.0,deepseek-r1-c037,403,356,334
28800.077,deepseek-r1-c035,19,6656,5394
"""
SERVEGEN_CSV = """pool,client_id,t_s,requests,iat_cv,input_tokens,output_tokens,reasoning_tokens,image_tokens
m-small,m-small-c000,143400,46,1.16,9499,710,,
m-small,m-small-c001,143400,46,1.16,,,,
deepseek-r1,deepseek-r1-c001,0,10,1,500,400,300,
mm-image,mm-image-c034,10200,920,0.943,1007218,197381,,832624
"""
INLINE = {
    "agent_calls": AGENT_CSV,
    "aider_llm_calls": AIDER_CSV,
    "azure_llm_2023": AZURE_CSV,
    "resampled_events_deepseek_r1": RESAMPLED_CSV,
    "servegen_usage_10min": SERVEGEN_CSV,
}

# The input and output columns of each trace, and the meters that hold them: their sums must agree.
COLUMN_METERS = {
    "agent_calls": {
        "input_tokens": ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens"),
        "cached_input_tokens_ttl5m": ("cache_read_tokens",),
        "output_tokens": ("output_tokens",),
    },
    "aider_llm_calls": {"prompt_tokens": ("input_tokens",), "completion_tokens": ("output_tokens",)},
    "azure_llm_2023": {"input_tokens": ("input_tokens",), "output_tokens": ("output_tokens",)},
    "resampled_events_deepseek_r1": {
        "input_tokens": ("input_tokens",),
        "output_tokens": ("output_tokens", "reasoning_tokens"),
        "reasoning_tokens": ("reasoning_tokens",),
    },
    "servegen_usage_10min": {
        "requests": ("requests",),
        "input_tokens": ("input_tokens", "image_input_tokens"),
        "output_tokens": ("output_tokens", "reasoning_tokens"),
        "reasoning_tokens": ("reasoning_tokens",),
        "image_tokens": ("image_input_tokens",),
    },
}


def write(folder: Path, kind: str, text: str | None = None) -> Path:
    path = folder / f"{kind}.csv"
    path.write_text(INLINE[kind] if text is None else text)
    return path


def events_of(path: Path, shift: Shift) -> list[Event]:
    return list(open_trace(path, shift).events())


def at(event: Event) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


def attribution(place: places.Place) -> Event:
    said = {"team": place.team, "project": place.project, "workflow": place.workflow}
    return {name: value for name, value in said.items() if value is not None}


def test_it_makes_a_run_of_a_conversation_and_a_child_run_of_a_subagent(tmp_path: Path) -> None:
    first, second, child = events_of(write(tmp_path, "agent_calls"), Shift(END))
    place = places.place(places.CODING_AGENTS, owner="trace_0002", call="trace_0002")
    common = {
        "provider": "anthropic",
        **attribution(place),
        "environment": places.environment("trace_0002"),
        "user": places.person(place.team, "trace_0002"),
        "status": "ok",
    }
    assert first == {
        "event_id": "agent_calls@20260520T120000Z-28d:trace_0002/main/0",
        "occurred_at": first["occurred_at"],
        **common,
        "model": "claude-opus-4-5",
        "usage": {
            "input_tokens": 10,
            "cache_read_tokens": 0,
            "cache_write_5m_tokens": 15808,
            "output_tokens": 154,
        },
        "task_type": "conversation",
        "run_id": "trace_0002",
        "step": 0,
        "stop_reason": "tool_use",
        "latency_ms": 5230,
        "tags": {"trace": "agent_calls", "agent": "main"},
    }
    assert second == {
        "event_id": "agent_calls@20260520T120000Z-28d:trace_0002/main/1",
        "occurred_at": second["occurred_at"],
        **common,
        "model": "claude-opus-4-5",
        "usage": {
            "input_tokens": 3,
            "cache_read_tokens": 15808,
            "cache_write_5m_tokens": 192,
            "output_tokens": 99,
        },
        "task_type": "coding",
        "run_id": "trace_0002",
        "step": 1,
        "tags": {"trace": "agent_calls", "agent": "main"},
    }
    assert child == {
        "event_id": "agent_calls@20260520T120000Z-28d:trace_0002/agent_001/0",
        "occurred_at": child["occurred_at"],
        **common,
        "model": "claude-haiku-4-5",
        "usage": {
            "input_tokens": 4,
            "cache_read_tokens": 0,
            "cache_write_5m_tokens": 896,
            "output_tokens": 7,
        },
        "task_type": "exploration",
        "run_id": "trace_0002/agent_001",
        "parent_run_id": "trace_0002",
        "step": 0,
        "stop_reason": "end_turn",
        "latency_ms": 1070,
        "tags": {"trace": "agent_calls", "agent": "Explore"},
    }
    assert at(second) - at(first) == timedelta(seconds=9)
    assert at(child) - at(first) == timedelta(seconds=12.5)


def test_it_keeps_aiders_declared_cost_exact_and_its_failed_calls_as_errors(tmp_path: Path) -> None:
    first, second, twin = events_of(write(tmp_path, "aider_llm_calls"), Shift(END))
    place = places.place(places.CODING_AGENTS, owner="u1-s1", call="u1-s1")
    assert first == {
        "event_id": first["event_id"],
        "occurred_at": "2026-05-20T11:59:00.000Z",
        "provider": "anthropic",
        "model": "claude-3-7-sonnet",
        "usage": {"input_tokens": 638, "output_tokens": 25},
        **attribution(place),
        "environment": places.environment("u1-s1"),
        "user": places.person(place.team, "u1-s1"),
        "task_type": place.task_type,
        "run_id": "u1-s1",
        "step": 0,
        "status": "ok",
        "cost_usd": "0.000015",
        "tags": {"trace": "aider_llm_calls", "edit_format": "diff"},
    }
    assert second["occurred_at"] == "2026-05-20T12:00:00.000Z"
    assert (second["provider"], second["model"]) == ("openrouter", "REDACTED")
    assert (second["status"], second["error_type"]) == ("error", "no_completion")
    assert second["task_type"] == "question_answering"
    assert "cost_usd" not in second
    assert (second["step"], twin["step"], twin["attempt"]) == (1, 1, 2)
    assert "attempt" not in second
    assert twin["event_id"] == f"{second['event_id']}-2"


def test_a_call_after_a_failed_one_is_tried_again_and_one_of_a_dearer_model_is_an_escalation(tmp_path: Path) -> None:
    calls = (
        ("deepseek-chat", 9),
        ("gpt-4o-mini", 0),
        ("gpt-4o-mini", 0),
        ("o1-preview", 5),
        ("gpt-4o", 5),
        ("other", 5),
    )
    header = AIDER_CSV.partition("1740000000")[0]
    text = header + "".join(
        f"{1740000000 + n},x,u1,u1-s1,{model},,,diff,{n},{output},0,0,0\n" for n, (model, output) in enumerate(calls)
    )
    events = events_of(write(tmp_path, "aider_llm_calls", text), Shift(END))
    placed = [(event["step"], event.get("attempt"), event.get("escalated_from")) for event in events]
    assert placed == [
        (0, None, None),
        (1, None, "deepseek-chat"),
        (1, 2, None),
        (1, 3, "gpt-4o-mini"),
        (2, None, None),
        (3, None, None),
    ]


def test_it_gives_azures_services_an_invented_model(tmp_path: Path) -> None:
    chat, code = events_of(write(tmp_path, "azure_llm_2023"), Shift(END))
    call = "2023-11-16 18:15:46.680 374 44"
    place = places.place(places.CHAT_SERVICES, owner=call, call=call)
    assert chat == {
        "event_id": chat["event_id"],
        "occurred_at": "2026-05-20T11:59:55.685Z",
        "provider": "azure",
        "model": "gpt-4o-mini",
        "usage": {"input_tokens": 374, "output_tokens": 44},
        **attribution(place),
        "environment": places.environment(call),
        "task_type": place.task_type,
        "status": "ok",
        "tags": {"trace": "azure_llm_2023", "service": "conv", "customer_tier": places.customer_tier(call)},
    }
    assert code["model"] == "gpt-4o"
    assert code["occurred_at"] == "2026-05-20T12:00:00.000Z"


def test_it_takes_reasoning_out_of_output(tmp_path: Path) -> None:
    first, last = events_of(write(tmp_path, "resampled_events_deepseek_r1"), Shift(END))
    client = "deepseek-r1-c037"
    place = places.place(places.REASONING_SERVICES, owner=client, call=f"{client} 28800.0 403")
    assert first == {
        "event_id": first["event_id"],
        "occurred_at": "2026-05-20T11:59:59.923Z",
        "provider": "deepseek",
        "model": "deepseek-reasoner",
        "usage": {"input_tokens": 403, "output_tokens": 22, "reasoning_tokens": 334},
        **attribution(place),
        "environment": places.environment(client),
        "task_type": place.task_type,
        "status": "ok",
        "tags": {
            "trace": "resampled_events_deepseek_r1",
            "client": client,
            "customer_tier": places.customer_tier(client),
        },
    }
    assert last["occurred_at"] == "2026-05-20T12:00:00.000Z"


def test_it_sums_a_servegen_window_in_disjoint_meters(tmp_path: Path) -> None:
    known, unknown, reasoning, image = events_of(write(tmp_path, "servegen_usage_10min"), Shift(END))
    assert known["event_id"] == "servegen_usage_10min@20260520T120000Z:m-small-c000/143400"
    assert known["usage"] == {"requests": 46, "input_tokens": 9499, "output_tokens": 710}
    assert unknown["usage"] == {"requests": 46}
    assert (unknown["provider"], unknown["model"]) == ("alibaba", "m-small")
    assert reasoning["usage"] == {
        "requests": 10,
        "input_tokens": 500,
        "output_tokens": 100,
        "reasoning_tokens": 300,
    }
    assert image["usage"] == {
        "requests": 920,
        "input_tokens": 174594,
        "image_input_tokens": 832624,
        "output_tokens": 197381,
    }
    assert (known["provider"], known["model"]) == ("openrouter", "qwen/qwen-turbo")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-3-5-sonnet-20241022", ("anthropic", "claude-3-5-sonnet-20241022")),
        ("anthropic/claude-3-7-sonnet", ("anthropic", "claude-3-7-sonnet")),
        ("gpt-4o", ("openai", "gpt-4o")),
        ("o1-preview", ("openai", "o1-preview")),
        ("o3-mini", ("openai", "o3-mini")),
        ("gemini/gemini-1.5-pro", ("google", "gemini-1.5-pro")),
        ("vertex_ai/REDACTED", ("google", "REDACTED")),
        ("gemini-1.5-flash", ("google", "gemini-1.5-flash")),
        ("deepseek/deepseek-chat", ("deepseek", "deepseek-chat")),
        ("openrouter/deepseek/deepseek-r1", ("openrouter", "deepseek/deepseek-r1")),
        ("fireworks_ai/accounts/fireworks/models/deepseek-v3", ("fireworks", "deepseek-v3")),
        ("bedrock/us.anthropic.claude-3-5-haiku", ("aws", "us.anthropic.claude-3-5-haiku")),
        ("ollama/REDACTED", ("ollama", "REDACTED")),
        ("None", ("unknown", "None")),
    ],
)
def test_it_reads_the_provider_from_a_model_name(name: str, expected: tuple[str, str]) -> None:
    assert provider_and_model(name) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_file_and_shift_give_the_same_events(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    assert events_of(path, Shift(END)) == events_of(path, Shift(END))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [Shift(END + timedelta(seconds=1)), Shift(END, 7)])
def test_another_shift_gives_other_ids(tmp_path: Path, kind: str, other: Shift) -> None:
    path = write(tmp_path, kind)
    ids = {event["event_id"] for event in events_of(path, Shift(END))}
    assert ids.isdisjoint(event["event_id"] for event in events_of(path, other))


def test_gzip_and_plain_give_the_same_events(tmp_path: Path) -> None:
    plain = write(tmp_path, "azure_llm_2023")
    packed = tmp_path / "azure_llm_2023.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert events_of(packed, Shift(END)) == events_of(plain, Shift(END))


def test_kept_dates_are_the_traces_own(tmp_path: Path) -> None:
    trace = open_trace(write(tmp_path, "azure_llm_2023"), Shift(None))
    first = next(trace.events())
    assert first["occurred_at"] == "2023-11-16T18:15:46.680Z"
    assert first["event_id"].startswith("azure_llm_2023@kept:")
    assert trace.first_instant() == at(first)


def test_a_trace_longer_than_thirty_days_is_compressed_into_them(tmp_path: Path) -> None:
    text = AIDER_CSV.replace("1740000000", "1700000000")
    trace = open_trace(write(tmp_path, "aider_llm_calls", text), Shift(END))
    events = list(trace.events())
    assert trace.shift.window_days == 30
    assert at(events[0]) == END - timedelta(days=30) == trace.first_instant()
    assert at(events[-1]) == END


def test_a_conversation_longer_than_its_window_ends_at_the_shift(tmp_path: Path) -> None:
    trace = open_trace(write(tmp_path, "agent_calls", AGENT_CSV.replace(",12.5,", ",200000.0,")), Shift(END, 1))
    events = list(trace.events())
    assert at(events[-1]) == END
    assert at(events[0]) == END - timedelta(seconds=200_000) == trace.first_instant()


@pytest.mark.parametrize(
    ("name", "text", "shift", "words"),
    [
        ("mooncake.csv", "t_s\n", Shift(END), "begins with no known trace"),
        ("azure_llm_2023.csv", "timestamp,service\n", Shift(END), "input_tokens, output_tokens"),
        ("azure_llm_2023.csv", AZURE_CSV.replace("374", "many"), Shift(END), "Row 1 of"),
        ("azure_llm_2023.csv", AZURE_CSV.replace("code", "poetry"), Shift(END), "Row 2 of"),
        ("azure_llm_2023.csv", AZURE_CSV.replace("2023-11-16 18:15:50", "noon"), Shift(END), "Row 2 of"),
        ("azure_llm_2023.csv.gz", "not gzip", Shift(END), "cannot be read"),
        ("agent_calls.csv", AGENT_CSV, Shift(None), "no dates of its own"),
    ],
)
def test_it_says_what_is_wrong_with_a_file(tmp_path: Path, name: str, text: str, shift: Shift, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(TraceError, match=words):
        events_of(path, shift)


def test_an_absent_file_is_a_trace_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        open_trace(tmp_path / "azure_llm_2023.csv", Shift(END))


@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    days=st.integers(1, 40),
    parts=st.lists(st.integers(0, 10**6), min_size=2, max_size=20),
)
def test_the_working_week_keeps_order_and_stays_inside(start: datetime, days: int, parts: list[int]) -> None:
    first = epoch_ms(start)
    week = WorkingWeek(first, first + days * DAY_MS)
    laid = [week.lay(part, 10**6, week.end_ms) for part in sorted(parts)]
    assert laid == sorted(laid)
    assert first <= laid[0]
    assert laid[-1] <= week.end_ms
    assert week.lay(0, 1, week.end_ms) == first
    assert week.lay(1, 1, week.end_ms) == week.end_ms


def test_the_working_week_is_busier_on_a_weekday_than_on_a_weekend() -> None:
    end = epoch_ms(datetime(2026, 5, 18, tzinfo=UTC))  # a Monday
    week = WorkingWeek(end - 7 * DAY_MS, end)
    days = Counter(instant(week.lay(part, 1000, end)).weekday() for part in range(1000))
    assert min(days[day] for day in range(5)) > 3 * max(days[5], days[6])


# Whole files


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def assert_events_are_the_file(path: Path, shift: Shift, oldest: timedelta) -> None:
    """One event a row, each id once, all in the window, and the file's sums of every quantity."""
    trace = open_trace(path, shift)
    ids: set[str] = set()
    sums: Counter[str] = Counter()
    first, last = END.isoformat(), ""
    for event in trace.events():
        ids.add(event["event_id"])
        sums.update(event["usage"])
        first, last = min(first, event["occurred_at"]), max(last, event["occurred_at"])
    rows = 0
    columns: Counter[str] = Counter()
    for row in rows_of(path):
        rows += 1
        for column in COLUMN_METERS[trace.kind.name]:
            columns[column] += int(row[column] or 0)
    assert len(ids) == rows == trace.survey.rows
    assert END - oldest <= trace.first_instant() <= datetime.fromisoformat(first)
    assert datetime.fromisoformat(last) <= END
    for column, meters in COLUMN_METERS[trace.kind.name].items():
        assert sum(sums[meter] for meter in meters) == columns[column], column


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_trace_becomes_events_with_its_own_sums(kind: str) -> None:
    path = FULL_TRACES / f"{kind}.csv.gz"
    if not path.exists():
        pytest.skip(f"The full trace is not at {path}; the shipped sample is tested all the same.")
    assert_events_are_the_file(path, Shift(END), timedelta(days=35))


@pytest.mark.parametrize("path", sorted(SAMPLE.glob("*.csv.gz")), ids=lambda path: path.name)
def test_the_sample_becomes_events_with_its_own_sums(path: Path) -> None:
    assert_events_are_the_file(path, Shift(END, 28), timedelta(days=28))


def test_the_sample_is_compact_and_enough() -> None:
    files = sorted(SAMPLE.glob("*.csv.gz"))
    assert len(files) == 4
    assert sum(path.stat().st_size for path in files) < SAMPLE_BYTES_MAX
    assert 12_000 < sum(open_trace(path, Shift(END)).survey.rows for path in files) < 20_000


def test_the_sample_shows_every_team_the_unattributed_and_the_unknown() -> None:
    teams = Counter(
        event.get("team") for path in SAMPLE.glob("*.csv.gz") for event in open_trace(path, Shift(END, 28)).events()
    )
    assert teams.keys() == {*(team.slug for team in places.TEAMS), places.UNKNOWN_TEAM, None}


@pytest.mark.parametrize("path", sorted(SAMPLE.glob("*.csv.gz")), ids=lambda path: path.name)
def test_the_strict_reader_takes_every_event_of_the_sample(path: Path) -> None:
    assert_reader_takes(open_trace(path, Shift(END, 28)).events())


@pytest.mark.parametrize("kind", KINDS)
def test_the_strict_reader_takes_every_kind_of_event(tmp_path: Path, kind: str) -> None:
    assert_reader_takes(open_trace(write(tmp_path, kind), Shift(END)).events())


def assert_reader_takes(events: Iterator[Event]) -> None:
    """All are read, no field is unknown, and the quantities are what the event says."""
    window = Window.around(END, oldest_kept=END - timedelta(days=700))
    while batch := list(islice(events, EVENTS_MAX)):
        read = read_batch(msgspec.json.encode(batch), "application/json", window)
        assert read.warnings == []
        assert [item for item in read.items if isinstance(item, Rejection)] == []
        assert [item.quantities for item in read.items if isinstance(item, UsageRecord)] == [
            tuple(event["usage"].get(meter, 0) for meter in METERS) for event in batch
        ]


def test_every_cast_workflow_exists_in_the_invented_company() -> None:
    cast = {
        *places.CODING_AGENTS,
        *places.CHAT_SERVICES,
        *places.REASONING_SERVICES,
        *places.MODEL_CLIENTS,
        *places.AUTOCOMPLETE,
    }
    cast |= {desk.SUPPORT, desk.TAGGING}
    assert cast == {workflow.slug for workflow in places.WORKFLOWS}
    assert {workflow.project for workflow in places.WORKFLOWS} == {project.slug for project in places.PROJECTS}
    assert {project.team for project in places.PROJECTS} == {team.slug for team in places.TEAMS}


def test_traces_know_each_kind_by_its_file_name() -> None:
    assert {traces.kind_of(Path(f"{name}.csv.gz")).name for name in KINDS} == set(KINDS)
