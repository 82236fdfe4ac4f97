"""The numbers that stand for words on the wire, as explicit tables.

Source: plugin protocol, section 3.  SDKs count their own enums from 0, so the wire number is one more.
"""

from __future__ import annotations

import enum
from typing import Self


class _WireEnum(enum.IntEnum):
    @classmethod
    def of(cls, value: object) -> Self:
        """The member with this wire number or name (any case); what is not known is the member 0."""
        if isinstance(value, str):
            word = value.strip()
            if not word.isdecimal():
                return cls.__members__.get(word.upper(), cls(0))
            value = int(word)
        if isinstance(value, (int, float)) and value in cls._value2member_map_:
            return cls(int(value))
        return cls(0)

    @property
    def sdk(self) -> int:
        """The SDK's number of this member.  Raises: ValueError for UNSPECIFIED, which SDKs do not have."""
        if self.value == 0:
            raise ValueError(f"{type(self).__name__} is unspecified; SDKs have no number for that")
        return self.value - 1

    @property
    def word(self) -> str:
        """The member's name in lower case, as people write it."""
        return self.name.lower()


class Permission(_WireEnum):
    """What an action may do.  WRITE is undocumented and governed as MODIFY."""

    UNSPECIFIED = 0
    READ = 1
    MODIFY = 2
    ADMIN = 3
    WRITE = 4

    @classmethod
    def of(cls, value: object) -> Permission:
        """As for every enum, but what is not recognised becomes MODIFY, so that it still meets a person."""
        found = super().of(value)
        blank = (
            value is None or value == 0 or value in ("", "0") or str(value).strip().lower() == "unspecified"
        )
        return cls.MODIFY if found is cls.UNSPECIFIED and not blank else cls(found)

    @property
    def governed(self) -> Permission:
        """The permission that the gate applies: READ, MODIFY or ADMIN."""
        return self if self in (Permission.READ, Permission.ADMIN) else Permission.MODIFY


class DevOpsStage(_WireEnum):
    """The stage of the DevOps cycle that an action belongs to."""

    UNSPECIFIED = 0
    PLAN = 1
    CODE = 2
    BUILD = 3
    TEST = 4
    RELEASE = 5
    DEPLOY = 6
    OPERATE = 7
    OBSERVE = 8


class ExecutionMode(_WireEnum):
    """How much a run may do without asking."""

    UNSPECIFIED = 0
    MANUAL = 1
    GUIDED = 2
    AUTONOMOUS = 3


class PluginType(_WireEnum):
    """What kind of plugin a process is."""

    UNSPECIFIED = 0
    AGENT = 1
    PROVIDER = 2
    CONNECTOR = 3
