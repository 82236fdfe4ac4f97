"""A service that others can find: it listens on the port it was given, and says that it is well."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mn_sdk import agent, workflow


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = {"status": "ok"} if self.path == "/health" else {"orders": [17, 4, 23]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *args: object) -> None:
        """Checks come every second; nobody wants to read that."""


class OrdersAgents:
    @agent.defn(
        type="stream",
        resources={"ports": [{"label": "web", "port": "dynamic", "protocol": "http"}]},
        services=[
            {
                "name": "orders",
                "port": "${port.web}",
                "tags": ["v1"],
                "checks": [
                    {"type": "http", "path": "/health", "contains": "ok", "interval_ms": 1000},
                    {"type": "tcp", "required": False, "interval_ms": 1000},
                ],
            }
        ],
    )
    def serve(self) -> None:
        ThreadingHTTPServer(("127.0.0.1", int(os.environ["MN_PORT_WEB"])), Page).serve_forever()


@workflow.defn(name="service_health_checked_orders", type="service")
class Orders:
    def __init__(self) -> None:
        self.agents = OrdersAgents()

    @workflow.run
    def run(self):
        return self.agents.serve()
