"""To write a workflow costs next to nothing, for every worker imports what its author imports."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from test_compile_chain import SAMPLE

ADDED_MS_MAX = 25.0
ROUNDS = 9
HEAVY = {"grpc", "google", "msgspec", "headway_wire", "asyncio", "typing", "dataclasses", "ast", "json", "re"}


def modules_after(code: str) -> set[str]:
    """The modules of a fresh interpreter after some code; those of the environment itself do not count."""

    def listed(program: str) -> set[str]:
        command = [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"]
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    return listed(code) - listed("pass")


def test_writing_a_workflow_imports_neither_the_compiler_nor_a_network_stack(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(SAMPLE)

    loaded = modules_after(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import flow")

    assert {"flow", "mn_sdk", "mn_sdk.agent", "mn_sdk.workflow"} <= loaded
    assert loaded & HEAVY == set()
    assert "mn_sdk.compiler" not in loaded


def test_compiling_imports_no_network_stack() -> None:
    loaded = modules_after("import mn_sdk; mn_sdk.build_bundle")

    assert "mn_sdk.compiler" in loaded
    assert loaded & {"grpc", "google", "asyncio"} == set()


def test_writing_a_workflow_adds_little_to_the_start_of_an_interpreter(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(SAMPLE)

    def start_ms(code: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
        return (time.perf_counter() - begin) * 1_000

    # By turns, so that a busy machine is busy for both.
    pairs = [(start_ms("pass"), start_ms("import flow")) for _ in range(ROUNDS)]

    assert statistics.median(after - before for before, after in pairs) < ADDED_MS_MAX, pairs
