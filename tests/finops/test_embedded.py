"""The embedded servers, real ones under names of their own: who starts and stops them, what they allow."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from finops.cluster import CHECKOUT, Cluster, EmbeddedError, find_cluster, listener
from finops.embedded import main, servers

VARIABLES = ("DATABASE_URL", "DATABASE_WORKER_URL", "DATABASE_OWNER_URL", "REDIS_URL", "SECRET_KEY_FILE",
             "ENCRYPTION_KEYS_FILE")  # fmt: skip
# Says that it runs, then ends with its input.
UNTIL_INPUT_ENDS = ["sh", "-c", "echo ready; cat"]


@pytest.fixture(autouse=True)
def embedded_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*VARIABLES, "SECRET_KEY", "ENCRYPTION_KEYS"):
        monkeypatch.delenv(variable, raising=False)


@contextmanager
def passing_cluster() -> Iterator[Cluster]:
    """A cluster of which nothing is left afterwards."""
    cluster = find_cluster(f"test-{uuid.uuid4().hex[:8]}")
    yield cluster
    main(["--name", cluster.name, "reset"])
    for path in cluster.state.parent.glob(f"{cluster.name}.*"):
        path.unlink()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Stopped at the start and at the end of each test; its data stay, as making a new one takes a while."""
    with passing_cluster() as cluster:
        yield cluster


@pytest.fixture
def new_cluster() -> Iterator[Cluster]:
    with passing_cluster() as cluster:
        yield cluster


def run(cluster: Cluster, *command: str) -> "subprocess.Popen[str]":
    """`python -m finops.embedded run`, in a process group of its own as a shell would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "finops.embedded", "--name", cluster.name, "run", "--", *command],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def wait_for_line(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout
    assert process.stdout.readline().strip() == line


def listeners(cluster: Cluster) -> tuple[int | None, int | None]:
    return listener(cluster.postgres_socket), listener(cluster.redis_socket)


def test_it_serves_while_the_block_runs_and_keeps_the_data(cluster: Cluster) -> None:
    with servers(cluster.name, durable=False) as first:
        assert os.environ["DATABASE_URL"] == first.database_url
        assert os.environ["REDIS_URL"] == first.redis_url
        secret = Path(os.environ["SECRET_KEY_FILE"]).read_text()
        keys = Path(os.environ["ENCRYPTION_KEYS_FILE"]).read_text()
        assert redis.Redis.from_url(first.redis_url).ping()
        with psycopg.connect(first.database_owner_url) as owner:
            owner.execute("CREATE TABLE note AS SELECT 1 AS number")
    assert not set(VARIABLES) & set(os.environ)
    assert listeners(cluster) == (None, None)
    with servers(cluster.name, durable=False) as second, psycopg.connect(second.database_owner_url) as owner:
        assert owner.execute("SELECT number FROM note").fetchall() == [(1,)]
        assert Path(os.environ["SECRET_KEY_FILE"]).read_text() == secret
        assert Path(os.environ["ENCRYPTION_KEYS_FILE"]).read_text() == keys != secret


def test_its_roles_may_do_what_they_need_and_no_more(cluster: Cluster) -> None:
    with servers(cluster.name, durable=False) as urls:
        with psycopg.connect(urls.database_owner_url) as owner:
            roles = owner.execute(
                "SELECT rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication "
                "FROM pg_roles WHERE rolname LIKE 'finops%' ORDER BY rolname"
            ).fetchall()
            owner.execute("CREATE FUNCTION powerful() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1")
        assert roles == [
            ("finops_app", False, False, False, False, False),
            ("finops_owner", False, True, True, False, False),
            ("finops_worker", False, False, False, False, False),
        ]
        for url in (urls.database_url, urls.database_worker_url):
            for statement in ("CREATE TABLE t ()", "CREATE TEMP TABLE t ()", "SELECT powerful()"):
                with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
def test_it_listens_on_sockets_only_and_commits_to_disk(cluster: Cluster, durable: bool, fsync: str) -> None:
    with servers(cluster.name, durable=durable) as urls, psycopg.connect(urls.database_url) as connection:
        names = ("server_version_num", "listen_addresses", "fsync", "synchronous_commit", "data_checksums")
        settings = [connection.execute(f"SHOW {name}").fetchone() for name in names]
        assert settings[0] is not None
        assert settings[0][0] >= "180000"
        assert settings[1:] == [("",), (fsync,), ("on",), ("on",)]
        assert redis.Redis.from_url(urls.redis_url).config_get("port") == {"port": "0"}


def test_the_last_one_out_stops_them(cluster: Cluster) -> None:
    first = run(cluster, *UNTIL_INPUT_ENDS)
    wait_for_line(first, "ready")
    with servers(cluster.name):
        running = listeners(cluster)
        first.communicate()
        assert first.returncode == 0
        assert listeners(cluster) == running
    assert listeners(cluster) == (None, None)


def test_two_that_start_at_once_share_one_pair(new_cluster: Cluster) -> None:
    both = [run(new_cluster, *UNTIL_INPUT_ENDS) for _ in range(2)]
    for process in both:
        wait_for_line(process, "ready")
    said = "".join(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said.count("Creating a Postgres cluster") == 1
    assert said.count("Starting this checkout's Postgres and Redis") == 1


def test_it_takes_on_servers_that_a_killed_process_left(cluster: Cluster) -> None:
    killed = run(cluster, *UNTIL_INPUT_ENDS)
    wait_for_line(killed, "ready")
    left = listeners(cluster)
    killed.kill()
    killed.communicate()
    assert listeners(cluster) == left
    with servers(cluster.name):
        assert listeners(cluster) == left
    assert listeners(cluster) == (None, None)


def test_a_killed_process_takes_its_command_along(cluster: Cluster) -> None:
    killed = run(cluster, "sh", "-c", "trap 'echo ended; exit' TERM; echo ready; read line")
    wait_for_line(killed, "ready")
    killed.kill()
    wait_for_line(killed, "ended")
    killed.communicate()
    assert main(["--name", cluster.name, "stop"]) == 0
    assert listeners(cluster) == (None, None)


def test_it_recovers_when_postgres_itself_was_killed(cluster: Cluster) -> None:
    with servers(cluster.name) as urls:
        with psycopg.connect(urls.database_owner_url) as owner:
            owner.execute("CREATE TABLE survivor AS SELECT 1 AS number")
        pid = listener(cluster.postgres_socket)
        assert pid
        os.kill(pid, signal.SIGKILL)
    assert listeners(cluster) == (None, None)
    with servers(cluster.name) as urls, psycopg.connect(urls.database_owner_url) as owner:
        assert owner.execute("SELECT number FROM survivor").fetchall() == [(1,)]


@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_command_once_and_stops_everything(
    cluster: Cluster, send: Callable[[int, int], None], number: signal.Signals, status: int
) -> None:
    name = number.name.removeprefix("SIG")
    wait = 'until [ "$line" = go ]; do read line; done'
    script = f"trap 'echo caught' {name}; echo ready; {wait}; trap - {name}; kill -{name} $$"
    process = run(cluster, "sh", "-c", script)
    wait_for_line(process, "ready")
    send(process.pid, number)
    wait_for_line(process, "caught")
    rest, _ = process.communicate("go\n")
    assert rest == ""
    assert process.returncode == status
    assert listeners(cluster) == (None, None)


def test_it_ends_with_the_status_of_the_command(cluster: Cluster) -> None:
    process = run(cluster, "sh", "-c", "exit 7")
    process.communicate()
    assert process.returncode == 7


def test_a_command_that_does_not_exist_is_said_and_stops_everything(cluster: Cluster) -> None:
    process = run(cluster, "no-such-command")
    _, said = process.communicate()
    assert process.returncode == 1
    assert "no-such-command cannot be run" in said
    assert listeners(cluster) == (None, None)


def test_reset_refuses_while_somebody_uses_the_servers(
    new_cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with servers(new_cluster.name, durable=False):
        assert main(["--name", new_cluster.name, "reset"]) == 1
        assert f"used by process {os.getpid()}" in capsys.readouterr().err
        assert None not in listeners(new_cluster)
    assert main(["--name", new_cluster.name, "reset"]) == 0
    assert f"Removed {new_cluster.home}" in capsys.readouterr().out
    assert not any(path.exists() for path in (new_cluster.home, new_cluster.sockets, new_cluster.state))


def test_status_says_what_runs(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--name", cluster.name, "status"])
    assert capsys.readouterr().out.count("does not run") == 2
    with servers(cluster.name, durable=False):
        main(["--name", cluster.name, "status"])
    assert f"Used by: process {os.getpid()}" in capsys.readouterr().out


def test_it_starts_nothing_where_the_environment_names_servers(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://finops_app@db.example/finops")
    monkeypatch.setenv("REDIS_URL", "redis://cache.example")
    with servers(cluster.name) as urls:
        assert urls.database_worker_url == urls.database_url == "postgresql://finops_app@db.example/finops"
        assert urls.redis_url == "redis://cache.example"
        assert listeners(cluster) == (None, None)


def test_it_refuses_half_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://cache.example")
    with pytest.raises(EmbeddedError, match="set both"), servers():
        pass


@pytest.mark.parametrize("name", ["..", "a/b", "", "Main"])
def test_it_refuses_a_name_that_is_no_folder_of_its_own(name: str) -> None:
    with pytest.raises(EmbeddedError, match="cannot name a cluster"):
        find_cluster(name)


def test_it_leaves_a_folder_that_others_may_enter_alone(new_cluster: Cluster) -> None:
    new_cluster.sockets.mkdir(mode=0o755)
    with pytest.raises(EmbeddedError, match="not a private folder"), servers(new_cluster.name):
        pass
    assert new_cluster.sockets.stat().st_mode & 0o777 == 0o755
