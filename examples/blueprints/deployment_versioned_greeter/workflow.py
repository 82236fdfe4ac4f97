"""A service in versions.  Change GREETING, deploy again, and see the new one take over once it is well."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mn_sdk import agent, workflow

GREETING = "hello from version one"


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(GREETING.encode())

    def log_message(self, *args: object) -> None:
        """Checks come twice a second; nobody wants to read that."""


class Greeters:
    @agent.defn(
        type="stream",
        resources={"ports": [{"label": "web", "port": "dynamic"}]},
        services=[
            {
                "name": "greeter",
                "port": "${port.web}",
                "checks": [{"type": "http", "path": "/", "interval_ms": 500}],
            }
        ],
    )
    def greet(self) -> None:
        ThreadingHTTPServer(("127.0.0.1", int(os.environ["MN_PORT_WEB"])), Page).serve_forever()


@workflow.defn(
    name="deployment_versioned_greeter",
    type="service",
    deployment={"key": "greeter"},
    update_policy={"strategy": "rolling", "min_healthy_ms": 500},
)
class Greeter:
    def __init__(self) -> None:
        self.greeters = Greeters()

    @workflow.run
    def run(self):
        return self.greeters.greet()
