"""The closed vocabularies of the plugin protocol, as authors write them.

Authors may write a member, its number, or its name in any case.  Numbers here count from 0, as in every
published SDK; on the wire they count from 1, because 0 means "unspecified" there.  Members are matched to the
wire by name, never by arithmetic.

Source: plugin protocol, sections 3 and 18.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TypeAlias, TypeVar

from headway_wire import enums as wire

__all__ = [
    "DevOpsStage",
    "ExecutionMode",
    "Permission",
    "PermissionLike",
    "PluginType",
    "StageLike",
    "as_permission",
    "as_plugin_type",
    "as_stage",
    "as_stages",
    "permission_to_wire",
    "plugin_type_to_wire",
    "stage_to_wire",
]


class Permission(IntEnum):
    """What an action may do: look, change, or administer.

    WRITE exists in newer published SDKs without a stated meaning; it is governed exactly like MODIFY.
    """

    READ = 0
    MODIFY = 1
    ADMIN = 2
    WRITE = 3


class DevOpsStage(IntEnum):
    """The part of the delivery cycle an action belongs to."""

    PLAN = 0
    CODE = 1
    BUILD = 2
    TEST = 3
    RELEASE = 4
    DEPLOY = 5
    OPERATE = 6
    OBSERVE = 7


class ExecutionMode(IntEnum):
    """How much a person takes part in the run that this call belongs to."""

    MANUAL = 0
    GUIDED = 1
    AUTONOMOUS = 2


class PluginType(IntEnum):
    """What kind of plugin a process is.  Only agents bring actions."""

    AGENT = 0
    PROVIDER = 1
    CONNECTOR = 2


PermissionLike: TypeAlias = Permission | int | str
StageLike: TypeAlias = DevOpsStage | int | str

Member = TypeVar("Member", bound=IntEnum)


def _member(kind: type[Member], what: str, value: int | str) -> Member:
    """The member that `value` spells: itself, its number (from 0), or its name in any case.

    Raises: ValueError naming the value and every accepted name.
    """
    if isinstance(value, str):
        name = value.strip().upper()
        if name in kind.__members__:
            return kind[name]
    elif not isinstance(value, bool) and value in set(kind):
        return kind(value)
    names = ", ".join(kind.__members__)
    raise ValueError(f"{value!r} is not a {what}; write one of {names}")


def as_permission(value: PermissionLike) -> Permission:
    """The permission that `value` spells.  Raises: ValueError."""
    return _member(Permission, "permission", value)


def as_stage(value: StageLike) -> DevOpsStage:
    """The DevOps stage that `value` spells.  Raises: ValueError."""
    return _member(DevOpsStage, "DevOps stage", value)


def as_plugin_type(value: PluginType | int | str) -> PluginType:
    """The plugin type that `value` spells.  Raises: ValueError."""
    return _member(PluginType, "plugin type", value)


def as_stages(values: StageLike | Iterable[StageLike] | None) -> list[DevOpsStage]:
    """The stages that `values` spell, each once, in the order given; one stage alone is a list of one."""
    if values is None:
        return []
    if isinstance(values, int | str):
        values = [values]
    return list(dict.fromkeys(as_stage(value) for value in values))


def permission_to_wire(permission: Permission | None) -> int:
    """The wire number of `permission`; 0, "unspecified", for None."""
    return 0 if permission is None else int(wire.Permission[permission.name])


def stage_to_wire(stage: DevOpsStage) -> int:
    """The wire number of `stage`."""
    return int(wire.DevOpsStage[stage.name])


def plugin_type_to_wire(plugin_type: PluginType) -> int:
    """The wire number of `plugin_type`."""
    return int(wire.PluginType[plugin_type.name])
