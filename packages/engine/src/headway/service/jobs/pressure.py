"""Whether there is too much to do for one message more from outside.  Pure.

Source: bundle contract, section 8.
"""

from __future__ import annotations

from headway_wire.manifest import Manifest

from headway.core.run import Run
from headway.service.jobs.records import Record, pressure_of


def pressure_on(run: Run, manifest: Manifest, agent: str) -> Record | None:
    """The pressure on `agent`, or on the first below it that has too many messages; None when all is well."""
    after: dict[str, list[str]] = {}
    for edge in manifest.edges:
        after.setdefault(edge.from_node, []).append(edge.to_node)
    seen, ahead = {agent}, [agent]
    while ahead:
        name = ahead.pop(0)
        node = manifest.by_id.get(name)
        if node is not None and (found := pressure_of(run, node))["backpressure"]:
            return found
        new = [target for target in after.get(name, ()) if target not in seen]
        seen.update(new)
        ahead += new
    return None
