"""Whether a change may run here: the plugin's side of the sealed approval.

An action that is not READ needs a grant for exactly this call, not expired and not used before.

Source: docs/reference/stream-link.md, "Grants".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway_wire import seal
from headway_wire.enums import Permission as Governed
from headway_wire.errors import Forbidden, Problem, Throttled

from mirastack_sdk.declarations import Action
from mirastack_sdk.describe import Description, param_dicts
from mirastack_sdk.enums import Permission

GRANTS_MAX = 100_000  # remembered until they expire


class Grants:
    """What this plugin is, to compare grants with, and the grants that were spent here.

    only_by_stream: the engine has opened our stream once, so no change comes over the callback link any more.
    """

    def __init__(self, description: Description, *, tenant_id: str, unsealed_allowed: bool) -> None:
        self._plugin = description.plugin
        self._tenant_id = tenant_id
        self._unsealed_allowed = unsealed_allowed
        self._expiry_of: dict[str, int] = {}
        self.only_by_stream = False

    def spend(
        self,
        given: Any,
        *,
        action: Action,
        params: Mapping[str, Any],
        time_range: Mapping[str, Any] | None,
        stringified: bool,
        now_ms: int,
    ) -> None:
        """Take the grant of a call that is about to run; READ needs none.

        Raises: Forbidden with code `grant_refused` and everything that differs.
        """
        permission = governed(action)
        if permission is Governed.READ:
            return
        if stringified and self.only_by_stream:
            # A grant is no secret and proves nothing about who sent it; the stream does, for we opened it.
            raise _refused(action, permission, ["it came to the open port; changes come over the stream"])
        if given is None and self._unsealed_allowed:
            return
        differences = seal.verify(
            given,
            tenant=self._tenant_id,
            plugin=self._plugin.name,
            version=self._plugin.version,
            action=action.id,
            schema=seal.schema_digest(param_dicts(action.input_params)),
            permission=permission.name,
            params=params,
            now_ms=now_ms,
            time_range=time_range,
            stringified=stringified,
        )
        if not differences and given["id"] in self._expiry_of:
            differences = ["the grant was used before"]
        if differences:
            raise _refused(action, permission, differences)
        self._remember(given["id"], given["call"]["expires_ms"], now_ms)

    def _remember(self, grant_id: str, expires_ms: int, now_ms: int) -> None:
        if len(self._expiry_of) >= GRANTS_MAX:
            alive = now_ms - seal.CLOCK_SKEW_MS
            self._expiry_of = {name: end for name, end in self._expiry_of.items() if end >= alive}
        if len(self._expiry_of) >= GRANTS_MAX:
            raise Throttled("too many grants are in force at once to tell new ones from used ones")
        self._expiry_of[grant_id] = expires_ms


def _refused(action: Action, permission: Governed, differences: list[str]) -> Forbidden:
    return Forbidden(
        f"{action.id} is a {permission.name} action and its grant does not let it run",
        code="grant_refused",
        problems=[Problem(difference) for difference in differences],
    )


def governed(action: Action) -> Governed:
    """The permission that the gate applies to an action; one that states none is treated as a change."""
    return (
        Governed.MODIFY
        if action.permission is None
        else Governed[Permission(action.permission).name].governed
    )
