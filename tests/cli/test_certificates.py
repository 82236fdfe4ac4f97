"""HTTPS: an engine behind a proxy whose certificate is, or is not, checked."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from packages.engine.tests.rest.boxes import Box
from tests.cli.operators import Operator

OPENSSL = shutil.which("openssl")


@pytest.fixture
def proxy(box: Box, tmp_path: Path) -> Iterator[int]:
    """A port that speaks HTTPS with a certificate that nobody trusts."""
    if OPENSSL is None:
        pytest.skip("openssl is not installed, and makes the certificate")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass()

        def do_POST(self) -> None:
            self._pass()

        def _pass(self) -> None:
            near = HTTPConnection("127.0.0.1", box.port, timeout=20)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            near.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = near.getresponse()
            text = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            near.close()

        def log_message(self, format: str, *args: object) -> None:
            """Tests have nothing to read there."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # The handshake happens in the thread of each connection, so that a refused one stops nobody else.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # A client that does not trust it leaves.
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        with suppress(OSError):
            server.shutdown()
            server.server_close()
        thread.join(10)


def test_a_certificate_that_is_not_trusted_is_refused_unless_that_is_wanted(
    newcomer: Operator, proxy: int
) -> None:
    key, secret = newcomer.box.keys["admin"]
    login = ("login", "--api-key", key, "--api-secret-stdin")
    newcomer.run("init", "--url", f"https://127.0.0.1:{proxy}")

    refused = newcomer.run(*login, given=secret, code=1)
    assert "not trusted" in refused.err and "--insecure" in refused.err
    assert not newcomer.tokens.exists()

    newcomer.run(*login, "--insecure", given=secret)
    newcomer.run("agent", "list", code=1)
    assert "kit" in newcomer.run("--insecure", "agent", "list").out

    newcomer.run("init", "--url", f"https://127.0.0.1:{proxy}", "--insecure")
    assert "kit" in newcomer.run("agent", "list").out
