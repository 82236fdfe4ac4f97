"""Questions to directed graphs: is there a cycle, what can be reached.  Nothing recurses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WAY_IDS_MAX = 12

Edges = Sequence[tuple[str, str]]


def children_of(ids: Iterable[str], edges: Edges) -> dict[str, list[str]]:
    """Children by id, in the order of `edges`; edges whose ends are not in `ids` do not count."""
    children: dict[str, list[str]] = {id: [] for id in ids}
    for parent, child in edges:
        if parent in children and child in children:
            children[parent].append(child)
    return children


def in_order(children: dict[str, list[str]]) -> list[str]:
    """The ids such that parents come before children; those on a cycle, and below one, are left out.

    Among what may come next, the order of `children` is kept.
    """
    waiting = dict.fromkeys(children, 0)
    for below in children.values():
        for child in below:
            waiting[child] += 1
    free = [id for id in reversed(children) if waiting[id] == 0]
    ordered: list[str] = []
    while free:
        id = free.pop()
        ordered.append(id)
        for child in reversed(children[id]):
            waiting[child] -= 1
            if waiting[child] == 0:
                free.append(child)
    return ordered


def cycle(children: dict[str, list[str]]) -> list[str]:
    """The ids along one cycle, the first one repeated at the end; empty when there is none.

    It begins with the one that comes first in `children`.
    """
    left = set(children) - set(in_order(children))
    parents: dict[str, str] = {}
    for id in children:
        if id in left:
            for child in children[id]:
                if child in left:
                    parents.setdefault(child, id)
    if not parents:
        return []
    # Whoever is left has a parent that is left, so that walking up must come round.
    walked: dict[str, None] = {}
    id = next(iter(parents))
    while id not in walked:
        walked[id] = None
        id = parents[id]
    path = list(walked)
    around = list(reversed(path[path.index(id) :]))
    on_it = set(around)
    begin = around.index(next(id for id in children if id in on_it))
    return [*around[begin:], *around[: begin + 1]]


def as_way(ids: Sequence[str]) -> str:
    """A path as people read it: ``a -> b -> c``; of a long one its ends, and how much is between them."""
    if len(ids) > WAY_IDS_MAX:
        middle = f"({len(ids) - WAY_IDS_MAX + 1} more)"
        ids = [*ids[: WAY_IDS_MAX - 2], middle, ids[-1]]
    return " -> ".join(ids)


def reachable(children: dict[str, list[str]], starts: Iterable[str]) -> set[str]:
    """What can be reached from `starts`, themselves included."""
    seen = {start for start in starts if start in children}
    waiting = list(seen)
    while waiting:
        for child in children[waiting.pop()]:
            if child not in seen:
                seen.add(child)
                waiting.append(child)
    return seen


def between(children: dict[str, list[str]], start: str, end: str) -> bool:
    """Whether a path leads from `start` to `end`."""
    return end in reachable(children, [start])
