"""The messages of the runtime API, byte for byte, and the code that was generated for them.

messages.json holds, for each call, a request and a response with every field set, as the published runtime
writes them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from headway_wire import mirrorneuron
from headway_wire.mirrorneuron.calls import RPCS

FOLDER = Path(mirrorneuron.__file__).parent
SOURCES = FOLDER.parents[1]
PROJECT = SOURCES.parent / "pyproject.toml"
PUBLISHED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "messages.json").read_text())


def plain(value: Any) -> Any:
    return {key: raw.hex() for key, raw in value.items()} if hasattr(value, "items") else value


def made(cls: type[Message], fields: dict[str, Any]) -> Message:
    given = {
        name: {key: bytes.fromhex(raw) for key, raw in value.items()} if isinstance(value, dict) else value
        for name, value in fields.items()
    }
    return cls(**given)


@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published["path"].rpartition(".")[2])
def test_every_message_is_the_published_one_byte_for_byte(published: dict[str, Any], side: str) -> None:
    rpc = RPCS[published["path"]]
    cls = rpc.request if side == "request" else rpc.response
    fields, raw = published[side]["fields"], bytes.fromhex(published[side]["hex"])

    read = cls.FromString(raw)

    assert {field.name: plain(getattr(read, field.name)) for field in read.DESCRIPTOR.fields} == fields
    assert made(cls, fields).SerializeToString(deterministic=True) == raw
    assert rpc.streams == published["streams"]


def test_there_is_every_published_call_and_no_other() -> None:
    assert sorted(RPCS) == [published["path"] for published in PUBLISHED]


def test_old_clients_that_send_no_version_are_understood() -> None:
    request = RPCS["/mirrorneuron.job.v1.JobService/ClearJobs"].request.FromString(b"")

    assert request == type(request)(version=0)


def test_the_generated_code_is_what_the_generator_makes_of_the_proto_files(tmp_path: Path) -> None:
    protos = sorted(FOLDER.glob("*.proto"))

    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCES}", f"--python_out={tmp_path}",
         f"--pyi_out={tmp_path}", *map(str, protos)],
        check=True,
    )  # fmt: skip

    made_now = sorted((tmp_path / "headway_wire" / "mirrorneuron").iterdir())
    assert len(made_now) == 2 * len(protos) == 10
    for file in made_now:
        assert file.read_text() == (FOLDER / file.name).read_text(), f"{file.name} is stale: make proto"


def test_the_floor_of_protobuf_is_the_version_that_the_generated_code_asks_for() -> None:
    wanted = {
        match[1]
        for file in FOLDER.glob("*_pb2.py")
        if (match := re.search(r"^# Protobuf Python Version: (\S+)$", file.read_text(), re.MULTILINE))
    }
    declared = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]

    assert [f"protobuf>={version}" for version in wanted] == [
        name for name in declared if name.startswith("protobuf")
    ]
