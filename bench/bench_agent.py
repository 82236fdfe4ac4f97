"""The agent of the "agent" scenarios: one READ action that does nothing, in a process of its own."""

from __future__ import annotations

from mirastack_sdk.agent import Agent
from mirastack_sdk.serve import serve

agent = Agent("bench", version="1.0.0", description="Does nothing, when asked", stages=["observe"])


@agent.action(permission="READ")
async def noop() -> dict[str, str]:
    """Do nothing.  Use this to see what doing nothing costs."""
    return {}


if __name__ == "__main__":
    serve(agent)
