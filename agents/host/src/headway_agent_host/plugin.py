"""The actions of the `host` agent, as the engine and models see them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Annotated

import msgspec
import psutil
from mirastack_sdk import Agent, ConfigParam, action

from headway_agent_host import __version__, folders, readings

FILES_MAX = 5_000
"""Files that one result lists, and that one call deletes."""

Days = Annotated[int, msgspec.Meta(ge=1, le=36_500)]
FileLimit = Annotated[int, msgspec.Meta(ge=1, le=FILES_MAX)]
ProcessLimit = Annotated[int, msgspec.Meta(ge=1, le=readings.PROCESSES_MAX)]


class HostAgent(Agent):
    """Reads the machine it runs on, and cleans folders that its operator allowed."""

    def __init__(self, *, allowed: Sequence[str] = ()) -> None:
        """`allowed` is the value of `allowed_folders` until an operator sets another."""
        super().__init__(
            "host",
            version=__version__,
            stages=["observe"],
            config_params=[
                ConfigParam(
                    "allowed_folders",
                    type="json",
                    default=json.dumps(list(allowed)),
                    description="Absolute folders below which clean_directory may delete; none by default",
                )
            ],
        )

    def _allowed(self) -> list[str]:
        return folders.allowed_folders(self.config.get("allowed_folders", ""))

    async def health_check(self) -> None:
        """Raise when the setting is wrong, or this system cannot delete safely."""
        if os.unlink not in os.supports_dir_fd or os.scandir not in os.supports_fd:
            raise RuntimeError("this system cannot open files relative to a folder; use Linux or macOS")
        self._allowed()
        psutil.virtual_memory()

    @action(permission="READ", idempotent=True, timeout=30, intents=[r"how busy .*\b(cpu|processor)s?\b"])
    def cpu(self) -> readings.Cpu:
        """How busy the processors of this machine are.  Use this when it is slow or a load alert fires."""
        return readings.read_cpu()

    @action(permission="READ", idempotent=True, timeout=30, intents=[r"how much (free )?memory"])
    def memory(self) -> readings.Memory:
        """How much memory and swap is left on this machine.  Use this when programs get killed."""
        return readings.read_memory()

    @action(permission="READ", idempotent=True, timeout=30, intents=[r"how full .*\bdisks?\b"])
    def disks(self) -> readings.Disks:
        """How full the file systems of this machine are, fullest first.  Use this when a disk alert fires."""
        return readings.read_disks()

    @action(permission="READ", idempotent=True, timeout=30, intents=[r"busiest process"])
    def busiest_processes(self, limit: ProcessLimit = 5) -> readings.Processes:
        """The processes that use most CPU right now.  Use this to find what keeps a machine busy.

        Args:
            limit: How many processes to name.
        """
        return readings.read_busiest_processes(limit)

    @action(permission="READ", idempotent=True, timeout=30, intents=[r"listening ports?|open ports?"])
    def listening_ports(self) -> readings.Ports:
        """The TCP ports on which programs of this machine accept connections, and which program it is."""
        return readings.read_listening_ports()

    @action(permission="READ", idempotent=True, timeout=120, intents=[r"(list|find|which) .*old files"])
    def list_old_files(
        self, path: str, older_than_days: Days, max_files: FileLimit = 1_000
    ) -> folders.OldFiles:
        """The files that clean_directory would delete now, oldest first.  Use this before deleting them.

        Args:
            path: The absolute path of a folder, in one that the operator allowed.
            older_than_days: Files changed within this many days are not listed.
            max_files: How many files to list; count and total_bytes are of all.
        """
        return folders.list_old(
            path, allowed=self._allowed(), older_than_days=older_than_days, files_max=max_files
        )

    # Not idempotent.  "Older than" is relative to the moment of the call, so a repeat may delete what the
    # first call was never meant to: a file that has become too old since, or one that somebody brought back
    # from a backup because of the first call.  So after a crash the engine asks this agent, or a person.
    @action(permission="MODIFY", stages=["operate"], timeout=600, intents=[r"(delete|clean).*old files"])
    def clean_directory(
        self, path: str, older_than_days: Days, max_files: FileLimit = 1_000
    ) -> folders.Cleaned:
        """Delete the files below a folder that have not changed for some days.  They cannot be brought back.

        Links, folders and everything outside the allowed folders stay.  Call list_old_files first.

        Args:
            path: The absolute path of a folder, in one that the operator allowed.
            older_than_days: Files changed within this many days stay.
            max_files: When more files than this would go, none does.
        """
        return folders.clean(
            path, allowed=self._allowed(), older_than_days=older_than_days, files_max=max_files
        )
