"""Key figures of a tenant, as plugins read them.

Source: plugin protocol, section 14: stored under ``/mirastack/{tenant}/kpis/``.
"""

from __future__ import annotations

from headway_wire.objects import Kpi

from headway.ports import Records

KPIS_MAX = 10_000


async def list_kpis(records: Records, tenant: str, *, kind: str = "", layer: str = "") -> list[Kpi]:
    """Those that match both filters exactly; an empty filter matches all."""
    found: list[Kpi] = []
    after, prefix = "", f"/mirastack/{tenant}/kpis/"
    while len(found) < KPIS_MAX and (page := await records.list(prefix, after=after)):
        after = page[-1].key
        found += [Kpi.decode(record.value) for record in page]
    return [kpi for kpi in found if kind in ("", kpi.kind) and layer in ("", kpi.layer)]


async def get_kpi(records: Records, tenant: str, id: str) -> Kpi | None:
    """One by its id; None when there is none."""
    record = await records.get(f"/mirastack/{tenant}/kpis/{id}") if id and "/" not in id else None
    return None if record is None else Kpi.decode(record.value)
