"""Names of payloads: relative paths with forward slashes that stay where they belong.

Source: gRPC contract, section 3.1; bundle contract, sections 1 and 11.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from headway_wire.manifest.findings import shown

PATH_BYTES_MAX = 1_024
SEGMENT_BYTES_MAX = 255

_CONTROL = re.compile("[\x00-\x1f\x7f]")


def path_problem(name: object) -> str:
    """Why `name` cannot be the path of a payload, as the end of "payload path must ..."; "" when it can."""
    if not isinstance(name, str):
        return f"be text: {shown(name)}"
    if not name:
        return "not be empty"
    if "\x00" in name:
        return f"not contain NUL: {shown(name)}"
    if "\\" in name:
        return f"not contain a backslash: {shown(name)}"
    if name.startswith("/"):
        return f"be relative: {shown(name)}"
    segments = name.split("/")
    if ".." in segments:
        return f"not contain '..': {shown(name)}"
    if "" in segments or "." in segments:
        return f"not contain empty or '.' segments: {shown(name)}"
    if _CONTROL.search(name):
        return f"not contain control characters: {shown(name)}"
    try:
        sizes = [len(segment.encode()) for segment in segments]
    except UnicodeEncodeError:
        return f"be UTF-8: {shown(name)}"
    if max(sizes) > SEGMENT_BYTES_MAX or sum(sizes) + len(sizes) - 1 > PATH_BYTES_MAX:
        return f"have at most {PATH_BYTES_MAX} bytes, {SEGMENT_BYTES_MAX} in a segment: {shown(name)}"
    return ""


def folders_of(names: Iterable[str]) -> set[str]:
    """Every folder that the paths `names` go through."""
    folders: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders
