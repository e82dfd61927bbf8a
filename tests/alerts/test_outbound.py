"""The way out: what a tenant may name, and that nothing else is ever connected to."""

import builtins
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import quote

import httpcore
import pytest

from apps.alerts.addresses import is_public, read_url
from apps.alerts.chat import room_of
from apps.alerts.transport import ANSWER_BYTES_MAX, LOOK_UPS_MAX, NoAnswer, NotSent, Outbound
from apps.core.errors import DomainError
from tests.alerts.receivers import Receiver
from tests.alerts.rooms import ROOMS

HOME = (ip_network("127.0.0.0/8"),)
PUBLIC = "93.184.215.14"

# Addresses that no message may go to, and the spellings of them that some resolver or library accepts.
HOSTILE_ADDRESSES = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255",
    "169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1",
    "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:93.184.215.14",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::1",
    "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fec0::1", "ff02::1",
]  # fmt: skip
HOSTILE_URLS = [
    *(f"https://{f'[{address}]' if ':' in address else address}/" for address in HOSTILE_ADDRESSES),
    "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://127.1/",
    "https://127.0.1/", "https://0/", "https://1.2.3/", "https://127.0.0.1./", "https://localhost/",
    "https://localhost./", "https://hooks.example.com./", "https://[fe80::1%25lo]/", "https://[::1%lo]/",
    "https://[::1/", "https://::1/", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://ⓛocalhost/",
    "https://xn--/", "https://xn--a/", "https://xn--hxajbheg2az3al.xn--/", "https://ab--cd.example.com/",
    "https://user@hooks.example.com/", "https://hooks.example.com:443@127.0.0.1/", "https://hooks.example.com@127.0.0.1/",
    "https://hooks.example.com#@127.0.0.1/", "https://hooks.example.com\\@127.0.0.1/", "https://127.0.0.1\t.example.com/",
    "https://hooks.example.com\r\nHost: x/", "https://hooks.example.com/\x00", "https://hooks.example.com:0/",
    "https://hooks.example.com:65536/", "https://hooks.example.com:/", "https://hooks.example.com:22/",
    "https://hooks.example.com:8443/", "http://hooks.example.com/", "http://93.184.215.14/", "ftp://hooks.example.com/",
    "file:///etc/passwd", "gopher://127.0.0.1:6379/_", "unix:///tmp/redis.sock", "//hooks.example.com/",
    "hooks.example.com", "https:hooks.example.com", "https:///hooks", "https://", "https://-a.example.com/",
    "https://a_b.example.com/", "https://a..example.com/", f"https://{'a' * 64}.example.com/",
    f"https://hooks.example.com/{'a' * 2000}", "https://*.example.com/", "https://%31%32%37.0.0.1/",
    "https://hooks.example.com/a b", "HTTPS://127.0.0.1/", "https://[::ffff:7f00:1]/", "https://[0:0:0:0:0:0:0:1]/",
]  # fmt: skip


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Every connection that any code of this process tries to make, beside a listener on this machine."""
    tried: list[object] = []
    connect, listener = socket.socket.connect, socket.create_server(("127.0.0.1", 0))

    def counted(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            tried.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    yield tried
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()


def test_there_are_enough_hostile_urls() -> None:
    assert len(set(HOSTILE_URLS)) >= 60


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_hostile_url_is_refused_and_nothing_is_connected_to(url: str, connects: list[object]) -> None:
    """Whatever a resolver would say of its host."""
    out = Outbound(networks=(), resolve=lambda *_: ["127.0.0.1"])
    with pytest.raises(DomainError) as refused:
        out.check(url)
    assert refused.value.code in ("url_invalid", "url_refused")
    with pytest.raises(NotSent):
        out.request("POST", url, {}, b"{}")
    assert connects == []


@pytest.mark.parametrize("address", HOSTILE_ADDRESSES)
def test_a_name_of_such_an_address_is_refused_even_beside_a_public_one(address: str, connects: list[object]) -> None:
    for answers in ([address], [PUBLIC, address], [address, PUBLIC]):
        out = Outbound(networks=(), resolve=lambda *_, said=answers: said)
        with pytest.raises(NotSent):
            out.request("POST", "https://hooks.example.com/", {}, b"{}")
    assert connects == []


@pytest.mark.parametrize(
    "address", [PUBLIC, "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700:4700::1111", "2a00::1"]
)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_a_resolver_that_fails_or_says_nothing_closes_the_way(connects: list[object]) -> None:
    def fails(*_: object) -> list[str]:
        raise socket.gaierror("no such name")

    for resolve in (fails, lambda *_: [], lambda *_: ["nonsense"]):
        with pytest.raises(NotSent):
            Outbound(networks=(), resolve=resolve).request("POST", "https://hooks.example.com/", {}, b"{}")
    assert connects == []


def test_a_name_that_was_public_is_refused_when_it_turns_private(connects: list[object]) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    out = Outbound(networks=(), resolve=lambda *_: next(answers))
    out.check("https://hooks.example.com/")
    with pytest.raises(NotSent):
        out.request("POST", "https://hooks.example.com/", {}, b"{}")
    assert connects == []


def test_the_connection_goes_to_the_address_that_was_checked(hook: Receiver, connects: list[object]) -> None:
    """A second answer of the resolver would be another one; it is never asked for."""
    asked: list[str] = []

    def rebinds(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    out = Outbound(networks=HOME, resolve=rebinds)
    answer = out.request("POST", f"http://hooks.example.com:{hook.port}/hook?x=1", {"Host": "evil"}, b"{}")
    assert answer.status == 204
    assert (asked, connects) == (["hooks.example.com"], [("127.0.0.1", hook.port)])
    assert hook.requests[0].headers["host"] == f"hooks.example.com:{hook.port}"
    assert hook.requests[0].path == "/hook?x=1"


def test_another_peer_than_the_one_that_was_checked_is_hung_up_on(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = httpcore.SyncBackend.connect_tcp

    def diverted(self: httpcore.SyncBackend, host: str, *rest: object, **named: object) -> object:
        return elsewhere(self, "127.0.0.1", *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", diverted)
    out = Outbound(networks=HOME, resolve=lambda *_: ["127.0.0.2"])
    with pytest.raises(NotSent, match=r"127\.0\.0\.1 instead of 127\.0\.0\.2"):
        out.request("POST", f"http://hooks.example.com:{hook.port}/", {}, b"{}")
    assert hook.requests == []


def test_the_environments_proxy_is_not_used(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Outbound(networks=HOME).request("POST", hook.url, {}, b"{}").status == 204


def test_a_redirect_is_an_answer_and_is_not_followed(hook: Receiver) -> None:
    hook.will_answer(302, Location=hook.url)
    assert Outbound(networks=HOME).request("POST", hook.url, {}, b"{}").status == 302
    assert len(hook.requests) == 1


def test_of_a_long_answer_only_the_beginning_is_read(hook: Receiver) -> None:
    hook.will_answer(200, b"a" * (4 * ANSWER_BYTES_MAX))
    assert len(Outbound(networks=HOME).request("POST", hook.url, {}, b"{}").body) == ANSWER_BYTES_MAX


def test_an_answer_is_not_unpacked(hook: Receiver) -> None:
    hook.will_answer(200, b"\x1f\x8bno gzip at all", Content_Encoding="gzip")
    assert Outbound(networks=HOME).request("POST", hook.url, {}, b"{}").body.endswith(b"at all")


def test_a_peer_that_drips_gains_no_time() -> None:
    """Each byte comes long before a read would time out; the whole ends at the deadline all the same."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            peer, _ = listener.accept()
            with peer:
                while not stop.wait(0.02):
                    try:
                        peer.send(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(NoAnswer):
            Outbound(networks=HOME).request("POST", url, {}, b"{}", seconds=0.3)
        stop.set()
        thread.join()


def test_a_resolver_that_takes_its_time_is_not_waited_for(connects: list[object]) -> None:
    """Whoever runs the servers of a name could otherwise keep a worker, or the site, as long as they like."""
    answered = threading.Event()

    def slow(*_: object) -> list[str]:
        answered.wait(30)
        return ["127.0.0.1"]

    began = time.monotonic()
    with pytest.raises(NotSent, match="cannot be found"):
        Outbound(networks=HOME, resolve=slow).request("POST", "http://slow.example.com/", {}, b"{}", seconds=0.2)
    room = room_of("mmost://slow.example.com/3ccdd113474722377935511fc85d3dd4")
    with pytest.raises(NotSent, match="cannot be found"):
        room.send(Outbound(networks=HOME, resolve=slow), title="t", text="x", seconds=0.2)
    assert time.monotonic() - began < 5
    answered.set()
    assert connects == []


def test_only_so_many_look_ups_are_left_behind() -> None:
    answered, begun = threading.Event(), []

    def slow(*_: object) -> list[str]:
        begun.append(1)
        answered.wait(30)
        return []

    out = Outbound(networks=HOME, resolve=slow)
    try:
        for _ in range(LOOK_UPS_MAX + 5):
            with pytest.raises(NotSent, match="cannot be found"):
                out.request("POST", "http://slow.example.com/", {}, b"{}", seconds=0.01)
        assert len(begun) == LOOK_UPS_MAX
    finally:
        answered.set()
    found = Outbound(networks=(), resolve=lambda *_: [PUBLIC]).check("https://hooks.example.com/")
    assert found.host == "hooks.example.com"


def test_all_requests_of_one_chat_message_share_one_deadline(hook: Receiver) -> None:
    room = room_of(f"mmost://127.0.0.1:{hook.port}/3ccdd113474722377935511fc85d3dd4")
    with pytest.raises(NotSent):
        room.send(Outbound(networks=HOME), title="t", text="x", seconds=0)
    assert hook.requests == []


@pytest.mark.parametrize("service", [name for name in ROOMS if "shows it" not in name and name != "google chat"])
@pytest.mark.parametrize("scheme", ["", "file://", "http"])
def test_a_url_makes_a_plugin_read_neither_a_file_nor_another_url(
    service: str, scheme: str, connects: list[object], hook: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"type": "message", "text": "x", "content": "x", "attachments": []}')
    opened: list[str] = []
    real = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda path, *rest, **named: (opened.append(str(path)), real(path, *rest, **named))[1]
    )
    template = quote(hook.url if scheme == "http" else f"{scheme}{secret}", safe="")
    url = ROOMS[service].replace("93.184.215.14", "127.0.0.1").partition("?")[0]
    asked = f"{url}?template={template}&attach={template}&file={template}&avatar_url={template}&mode=webhook"
    out = Outbound(networks=(), resolve=lambda *_: ["127.0.0.1"])
    with suppress(DomainError, NotSent):
        room_of(asked).send(out, title="t", text="x")
    assert (connects, hook.requests, str(secret) in opened) == ([], [], False)


def test_nobody_there_is_not_sent_and_a_hang_up_is_no_answer(hook: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NotSent):
        Outbound(networks=HOME).request("POST", f"http://127.0.0.1:{port}/", {}, b"{}")
    hook.will_drop()
    with pytest.raises(NoAnswer):
        Outbound(networks=HOME).request("POST", hook.url, {}, b"{}")


@pytest.mark.parametrize(
    ("url", "host", "port", "authority"),
    [
        ("https://hooks.example.com/a?b=c", "hooks.example.com", 443, "hooks.example.com"),
        ("https://HOOKS.example.com", "hooks.example.com", 443, "hooks.example.com"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "xn--bcher-kva.example"),
        ("https://93.184.215.14:8443/", "93.184.215.14", 8443, "93.184.215.14:8443"),
        ("https://[2606:4700::1111]/", "2606:4700::1111", 443, "[2606:4700::1111]"),
        ("http://alertmanager:9093/", "alertmanager", 9093, "alertmanager:9093"),
    ],
)
def test_a_clear_url_is_read(url: str, host: str, port: int, authority: str) -> None:
    found = read_url(url)
    assert (found.host, found.port, found.authority) == (host, port, authority)


def test_a_named_network_allows_its_addresses_and_no_others() -> None:
    out = Outbound(networks=(ip_network("10.2.0.0/16"),), resolve=lambda *_: ["10.2.3.4"])
    assert out.check("http://alertmanager:9093/").port == 9093
    for url in ("http://10.3.0.1/", "https://169.254.169.254/", "https://127.0.0.1/"):
        with pytest.raises(DomainError):
            out.check(url)


@pytest.mark.parametrize("service", ROOMS)
def test_every_chat_service_goes_the_checked_way(service: str, connects: list[object]) -> None:
    """Its plugin asks for the service's host; where that leads to this machine, nothing is connected to."""
    asked: list[str] = []

    def home(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = ROOMS[service].replace("93.184.215.14", "127.0.0.1").replace(":443", "")
    room = room_of(url, Outbound(networks=HOME))
    with pytest.raises(NotSent, match="may not be reached"):
        room.send(Outbound(networks=(), resolve=home), title="t", text="x")
    assert connects == []
    assert asked or room.host == "127.0.0.1"
