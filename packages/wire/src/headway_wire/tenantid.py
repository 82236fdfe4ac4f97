"""The identity of a tenant: a frozen function of its slug, the same in every process and language."""

from __future__ import annotations

import uuid

# Frozen.  The stated origin of this constant does not reproduce it; the constant is what peers use.
TENANT_NAMESPACE = uuid.UUID("f9f3a4d4-2c64-5b9e-9e25-8a8b6f6f6f6f")


def id_from_slug(slug: str) -> str:
    """The tenant's id: 36 lower-case characters.

    Raises: ValueError when the slug is blank, since every tenant would share that id.
    Source: plugin protocol, section 8.
    """
    name = slug.strip().lower()
    if not name:
        raise ValueError("a tenant slug must not be blank")
    return str(uuid.uuid5(TENANT_NAMESPACE, f"tenant:{name}"))
