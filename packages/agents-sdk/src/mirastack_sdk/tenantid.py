"""The tenant id of a slug, for tests and operator tooling; the SDK stamps it on every call by itself.

Source: plugin protocol, section 8.
"""

from headway_wire.tenantid import id_from_slug

__all__ = ["id_from_slug"]
