"""The manifest that a run executes: its definition's, with what is this run's own.  Pure.

Source: runtime API, section 9, "StartRun prepares the execution manifest".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from headway_wire.bundle import BUNDLE_BYTES_MAX, deep_merge
from headway_wire.errors import Invalid
from headway_wire.manifest.fields import is_plain
from headway_wire.manifest.findings import Findings
from headway_wire.manifest.reading import EVERY_ENTRYPOINT

from headway.core.value import value
from headway.service.cluster.templates import CONFIG_VARIABLE

IDENTITIES = frozenset({"run_id", "blueprint_run_id", "MN_RUN_ID", "MN_ATTEMPT_ID"})
"""Keys whose value is the id of a run, or begins with it."""

PATHS = frozenset({"run_dir", "run_path", "MN_RUN_DIR"})
"""Keys whose value is a path that ends with the id of a run."""

COPIES = "output_copy"
COPY_ENDS = frozenset({"source_path", "target_path"})

NAMING = (("run_id",), ("blueprint_run_id",), ("mn_identity", "run_id"), ("identity", "run_id"))
"""Where metadata may name the run for which a manifest was prepared before."""

Json = Any


@value
class Execution:
    """What is one run's own.  data_dir: the folder of its definition's data; inputs: given with this run."""

    job_id: str
    run_id: str
    data_dir: str
    access: str
    generation: int
    configuration: Mapping[str, Json]
    inputs: Mapping[str, Json]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every worker of the run finds."""
        return {
            "MN_JOB_ID": self.job_id,
            "MN_RUN_ID": self.run_id,
            "MN_JOB_DATA_DIR": self.data_dir,
            "MN_JOB_DATA_ACCESS": self.access,
            "MN_JOB_DATA_GENERATION": str(self.generation),
            "MN_ATTEMPT_ID": f"{self.run_id}:1",
        }

    @property
    def identity(self) -> dict[str, Json]:
        """Who runs, as configuration and inputs say it."""
        return {"identity": {"job_id": self.job_id, "run_id": self.run_id}}


def prepare(manifest: Mapping[str, Json], run: Execution) -> dict[str, Json]:
    """The manifest for `run` of a definition's `manifest`, which stays as it is.

    Raises Invalid when the configuration, which each node gets that asks for it, would make it too large.
    """
    left = BUNDLE_BYTES_MAX
    metadata = _object(manifest.get("metadata"))
    earlier = earlier_run(metadata)
    made: dict[str, Json] = _renamed(dict(manifest), earlier, run.run_id) if earlier else _copied(manifest)
    for node in _nodes(made):
        config = node["config"] = _object(node.get("config"))
        environment = config["environment"] = _object(config.get("environment"))
        environment |= run.environment
        if text := _configured(environment.get(CONFIG_VARIABLE), run):
            environment[CONFIG_VARIABLE] = text
            left -= len(text)
            if left < 0:
                told = "with the configuration in each node that asks for it, the manifest is too large"
                raise Invalid(f"{told}: {BUNDLE_BYTES_MAX} bytes are the most", code="bundle_too_large")
    made["initial_inputs"] = _initial_inputs(made.get("initial_inputs"), run)
    flow = made.get("dataflow")
    if isinstance(flow, dict) and isinstance(flow.get("inputs"), dict):
        # A dataflow has inputs with names, not messages that seed agents.
        flow["inputs"] |= {name: run.inputs[name] for name in flow["inputs"] if name in run.inputs}
    made["metadata"] = _object(made.get("metadata")) | {
        "job_id": run.job_id,
        "run_id": run.run_id,
        "job_data_access": run.access,
        "data_generation": run.generation,
    }
    return made


def earlier_run(metadata: Mapping[str, Json]) -> str:
    """The run that a manifest was prepared for before it became a definition's, or ""."""
    for path in NAMING:
        found: Json = metadata
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, str) and found:
            return found
    return ""


def copies_of(metadata: Mapping[str, Json]) -> list[tuple[str, str]]:
    """The folders to copy when a run has ended: from, to.  What is none of two texts is left out."""
    listed = _object(metadata.get("mn_storage")).get(COPIES)
    pairs = []
    for pair in listed if isinstance(listed, list) else ():
        source, target = _object(pair).get("source_path"), _object(pair).get("target_path")
        if isinstance(source, str) and isinstance(target, str):
            pairs.append((source, target))
    return pairs


# The parts ----------------------------------------------------------------------------------------


def _nodes(manifest: dict[str, Json]) -> Iterator[dict[str, Json]]:
    """Every node, wherever the shape of the manifest keeps them (bundle contract, section 2)."""
    for holder in (manifest, _object(manifest.get("agents")), _object(manifest.get("flow"))):
        nodes = holder.get("nodes")
        yield from (node for node in (nodes if isinstance(nodes, list) else ()) if isinstance(node, dict))


def _configured(text: Json, run: Execution) -> str:
    """The configuration that a worker finds, with the run's own in it; "" where there is none."""
    found = _parsed(text)
    if found is None:
        return ""
    merged = deep_merge(deep_merge(found, run.configuration), run.identity)
    return json.dumps(merged, ensure_ascii=False)


def _initial_inputs(given: Json, run: Execution) -> dict[str, Json]:
    if given is not None and not isinstance(given, dict):
        given = {EVERY_ENTRYPOINT: given}
    merged = deep_merge(given or {}, run.configuration)
    return deep_merge(deep_merge(merged, run.inputs), run.identity)


def _renamed(raw: Json, earlier: str, run_id: str, *, key: str = "", copies: bool = False) -> Json:
    """The same for another run: keys that carry the identity of `earlier` carry that of `run_id`.

    copies: `raw` is what `output_copy` holds, or is in it.
    """
    if isinstance(raw, dict):
        return {
            name: _renamed(item, earlier, run_id, key=name, copies=copies or name == COPIES)
            for name, item in raw.items()
        }
    if isinstance(raw, list):
        return [_renamed(item, earlier, run_id, copies=copies) for item in raw]
    if not isinstance(raw, str):
        return raw
    if key == CONFIG_VARIABLE:
        found = _parsed(raw)
        return raw if found is None else json.dumps(_renamed(found, earlier, run_id), ensure_ascii=False)
    if key in IDENTITIES and (raw == earlier or raw.startswith(f"{earlier}:")):
        return run_id + raw.removeprefix(earlier)
    if key in PATHS or (copies and key in COPY_ENDS):
        before, slash, last = raw.rstrip("/").rpartition("/")
        return f"{before}{slash}{run_id}" if last == earlier else raw
    return raw


def _copied(raw: Json) -> Json:
    if isinstance(raw, Mapping):
        return {name: _copied(item) for name, item in raw.items()}
    return [_copied(item) for item in raw] if isinstance(raw, list) else raw


def _parsed(text: Json) -> dict[str, Json] | None:
    """The object that a text states, or None; also for one that is nested deeper than manifests are.

    A configuration may be an object already.
    """
    try:
        found = json.loads(text) if isinstance(text, str) and text else text
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and is_plain(Findings(), found) else None


def _object(raw: Json) -> dict[str, Json]:
    return raw if isinstance(raw, dict) else {}
