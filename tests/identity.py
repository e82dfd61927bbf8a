"""An identity provider and a name server on this machine, which say what they are told."""

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import dns.message
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SAML = {
    "entity_id": "https://idp.acme.example/saml",
    "sso_url": "https://idp.acme.example/sso",
    "default_role": "viewer",
}


def certificate(key: rsa.RSAPrivateKey = KEY) -> str:
    """Self-signed, as PEM."""
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp.acme.example")]), datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=9))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class Provider:
    """OpenID Connect. `person` are the claims of who signs in next; `asked` the paths that were asked for."""

    url: str
    client_id: str = "finops"
    secret: str = "of-the-provider"
    person: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_broken: bool = False
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    def is_me(self, **claims: Any) -> None:
        self.person = claims


@contextmanager
def provider() -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            found.asked.append(address.path)
            match address.path:
                case _ if found.is_broken:
                    self.answer(500, {})
                case "/.well-known/openid-configuration":
                    ends = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
                    document = {f"{name}_endpoint": f"{found.url}/{path}" for name, path in ends.items()}
                    self.answer(200, {"issuer": found.url, "jwks_uri": f"{found.url}/keys", **document})
                case "/authorize":
                    code = secrets.token_hex(8)
                    found.codes[code] = {**found.person, "nonce": query.get("nonce")}
                    self.send_response(302)
                    self.send_header(
                        "Location", f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
                    )
                    self.end_headers()
                case "/userinfo":
                    token = self.headers["Authorization"].removeprefix("Bearer ")
                    self.answer(200, found.tokens[token])
                case _:
                    self.answer(404, {})

        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            found.asked.append(self.path)
            if body.get("client_secret") != [found.secret] and "Authorization" not in self.headers:
                self.answer(401, {"error": "invalid_client"})
                return
            claims = found.codes.pop(body["code"][0])
            token = secrets.token_hex(8)
            found.tokens[token] = claims
            now = int(time.time())
            signed = jwt.encode(
                {**claims, "iss": found.url, "aud": found.client_id, "iat": now, "exp": now + 60}, KEY, "RS256"
            )
            self.answer(200, {"access_token": token, "token_type": "Bearer", "id_token": signed, "expires_in": 60})

        def answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Provider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Zone:
    """TXT records by name."""

    address: str
    texts: dict[str, str] = field(default_factory=dict)


@contextmanager
def name_server() -> Iterator[Zone]:
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind(("127.0.0.1", 0))
    zone = Zone(f"127.0.0.1:{door.getsockname()[1]}")

    def serve() -> None:
        while True:
            try:
                packet, sender = door.recvfrom(4096)
            except OSError:
                return
            asked = dns.message.from_wire(packet)
            answer = dns.message.make_response(asked)
            name = asked.question[0].name
            if (text := zone.texts.get(name.to_text(omit_final_dot=True))) is not None:
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", json.dumps(text)))
            door.sendto(answer.to_wire(), sender)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield zone
    finally:
        door.close()
