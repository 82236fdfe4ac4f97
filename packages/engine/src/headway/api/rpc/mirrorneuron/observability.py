"""`mirrorneuron.observability.v1.ObservabilityService`: the events of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway_wire.mirrorneuron import observability_v1_pb2 as v1

from headway.api.rpc.mirrorneuron.exchange import Answers
from headway.api.rpc.mirrorneuron.following import Followers, Write, pass_on
from headway.api.rpc.mirrorneuron.services import Jobs
from headway.ports import Clock
from headway.service.launching import iso


class EventCalls:
    """Following jobs."""

    def __init__(self, jobs: Jobs, followers: Followers, clock: Clock) -> None:
        self._jobs = jobs
        self._followers = followers
        self._clock = clock

    def table(self) -> Mapping[str, Answers[Any]]:
        """The calls by name."""
        return {"StreamEvents": self.stream}

    async def stream(self, request: v1.StreamEventsRequest, write: Write) -> None:
        """The job's events, and the live ones until it has ended when `follow` is set."""
        with self._followers.place(follow=request.follow):
            await pass_on(
                self._jobs.events(request.job_id, follow=request.follow, limit=max(request.limit, 0)),
                write,
                heartbeat_ms=request.heartbeat_interval_ms if request.follow else 0,
                heartbeat=lambda: {
                    "type": "stream_heartbeat",
                    "job_id": request.job_id,
                    "timestamp": iso(self._clock.now_ms()),
                },
            )
