"""`mirrorneuron.operations.v1.OperationsService`: long operations on groups of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway_wire.host import Caller
from headway_wire.mirrorneuron import operations_v1_pb2 as v1

from headway.api.rpc.mirrorneuron.exchange import Answer, Answers, json_of, objects
from headway.api.rpc.mirrorneuron.following import Followers, Write, pass_on
from headway.api.rpc.mirrorneuron.services import Operations
from headway.ports import Clock
from headway.service.launching import iso


class OperationCalls:
    """Starting and following operations."""

    def __init__(self, operations: Operations, followers: Followers, clock: Clock) -> None:
        self._operations = operations
        self._followers = followers
        self._clock = clock

    def table(self) -> Mapping[str, Answer[Any]]:
        """The calls with one answer, by name."""
        return {"StartOperation": self.start, "GetOperation": self.get}

    def streams(self) -> Mapping[str, Answers[Any]]:
        """The calls with many answers, by name."""
        return {"StreamOperationEvents": self.stream}

    async def start(self, request: v1.StartOperationRequest, _caller: Caller) -> v1.StartOperationResponse:
        """Start an operation."""
        started = await self._operations.start_operation(
            kind=request.kind, **objects(request, "options_json")
        )
        return v1.StartOperationResponse(operation_json=json_of(started))

    async def get(self, request: v1.GetOperationRequest, _caller: Caller) -> v1.GetOperationResponse:
        """One operation."""
        found = await self._operations.get_operation(operation_id=request.operation_id)
        return v1.GetOperationResponse(operation_json=json_of(found))

    async def stream(self, request: v1.StreamOperationEventsRequest, write: Write) -> None:
        """The operation's events, and the live ones until it has ended when `follow` is set."""
        with self._followers.place(follow=request.follow):
            await pass_on(
                self._operations.stream_operation_events(
                    operation_id=request.operation_id,
                    after_sequence=max(request.after_sequence, 0),
                    follow=request.follow,
                ),
                write,
                heartbeat_ms=request.heartbeat_interval_ms if request.follow else 0,
                heartbeat=lambda: {
                    "type": "stream_heartbeat",
                    "operation_id": request.operation_id,
                    "timestamp": iso(self._clock.now_ms()),
                },
            )
