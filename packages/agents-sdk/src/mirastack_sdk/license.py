"""What the engine says about its licence when a plugin registers.  A free engine allows everything.

Source: plugin protocol, section 15.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["LicenseContext", "LicenseQuotas"]

UNLIMITED = -1


@dataclass(frozen=True)
class LicenseQuotas:
    """How much the engine allows; -1 is unlimited."""

    max_tenants: int = UNLIMITED
    max_integration_types: int = UNLIMITED
    max_agentic_sessions_per_day: int = UNLIMITED


@dataclass(frozen=True)
class LicenseContext:
    """The licence in force.

    Units: `expires_at` in epoch milliseconds, 0 for never.
    """

    active: bool = True
    effective_tier: str = "community"
    issued_tier: str = "community"
    grace_mode: bool = False
    expires_at: int = 0
    org_id: str = ""
    site_id: str = ""
    region: str = ""
    region_kind: str = ""
    quotas: LicenseQuotas = field(default_factory=LicenseQuotas)
