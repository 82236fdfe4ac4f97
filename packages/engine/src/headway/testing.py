"""The engine in a box: real rules, a real journal, and functions of this process as plugins.

For tests of plans, and for programs that want durable runs and nothing else:

    async with open_engine("runs.db", {("shop", "charge"): charge}) as engine:
        run_id = await engine.submit(plan, {}, tenant="acme", requester="ada")
        run = await engine.wait(run_id)
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from headway_wire.seal import digest

from headway.core.events import Failure
from headway.core.plan import Json, Permission
from headway.core.world import Facts
from headway.links.local import Function, LocalLink
from headway.ports import Store
from headway.service.engine import ACTIVE_RUNS_MAX, Engine, Policy, Rules
from headway.stores import open_store

LOCAL_VERSION = "local"


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000


class VirtualClock:
    """A clock that moves when a test says so."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The moment it was set to."""
        return self._now_ms

    def advance(self, by_ms: int) -> None:
        """Let time pass."""
        self._now_ms += by_ms


def evaluate(value: Json, scope: Mapping[str, Json]) -> Json:
    """The value of a template tree, as `World` wants it."""
    # Imported when a plan first has a template: runs without any need neither the parser nor its start-up.
    from headway.runbooks.expressions import evaluate as evaluate_tree

    return evaluate_tree(value, scope)


@asynccontextmanager
async def open_engine(
    store: str | Store = "memory:",
    functions: Mapping[tuple[str, str], Function] | None = None,
    *,
    permissions: Mapping[tuple[str, str], Permission] | None = None,
    policy: Policy | None = None,
    clock: SystemClock | VirtualClock | None = None,
    pools: dict[str, int] | None = None,
    active_max: int = ACTIVE_RUNS_MAX,
) -> AsyncIterator[Engine]:
    """An engine on `store` (a URL, or an open store) whose plugins are `functions`.

    functions: by (plugin, action).  permissions: READ where nothing is said; a change waits at its gate.
    Raises what opening the store raises.
    """
    offered = dict(functions or {})
    granted = dict(permissions or {})

    def facts(tenant: str, plugin: str, action: str) -> Facts | Failure:
        if (plugin, action) not in offered:
            return Failure("unknown_action", f"'{plugin}' offers no action '{action}' here", False)
        permission = granted.get((plugin, action), Permission.READ)
        return Facts(int(permission), LOCAL_VERSION, "", instance=LOCAL_VERSION)

    link = LocalLink(offered)
    opened = await open_store(store) if isinstance(store, str) else store
    engine = Engine(
        store=opened,
        clock=clock or SystemClock(),
        link=link,
        rules=Rules(evaluate, digest, facts, policy=lambda tenant: policy or Policy()),
        pools=pools,
        active_max=active_max,
    )
    link.attach(engine)
    try:
        async with engine:
            yield engine
    finally:
        link.close()
        if isinstance(store, str):
            await opened.close()
