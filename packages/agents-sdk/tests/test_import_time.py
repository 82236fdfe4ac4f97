"""Importing the SDK costs little beside the network stack it needs."""

from __future__ import annotations

import statistics
import subprocess
import sys

ADDED_MS_MAX = 150.0
ROUNDS = 5

CODE = """
import time
import grpc
start = time.perf_counter()
import mirastack_sdk
print((time.perf_counter() - start) * 1000)
"""


def test_importing_the_sdk_adds_little_to_importing_grpc() -> None:
    added_ms = [
        float(subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout)
        for _ in range(ROUNDS)
    ]

    assert statistics.median(added_ms) < ADDED_MS_MAX, added_ms


def test_importing_the_sdk_leaves_heavy_and_optional_libraries_alone() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", "import sys, mirastack_sdk; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert {"pydantic", "fastapi", "starlette", "click", "rich", "opentelemetry", "headway"} & set(
        listed
    ) == set()
