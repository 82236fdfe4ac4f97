"""What the REST API calls: the services, put together by `assembly`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headway.ports import Clock, Store
from headway.service.actions import Actions
from headway.service.approvals import Approvals
from headway.service.executions import Executions
from headway.service.identity import Identity
from headway.service.plugin_views import PluginViews
from headway.service.settings import Settings
from headway.service.workflows import Workflows


def no_components() -> Mapping[str, str]:
    """Nothing to say beyond the store."""
    return {}


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one engine.

    store: for `/healthz` and `/metrics` alone.
    components: what `/healthz` says of cache, grpc and llm: "ok", "off" or what is wrong.
    """

    identity: Identity
    executions: Executions
    approvals: Approvals
    workflows: Workflows
    actions: Actions
    settings: Settings
    plugins: PluginViews
    store: Store
    clock: Clock
    version: str
    components: Callable[[], Mapping[str, str]] = no_components
