"""Tenant ids agree with every other process and language."""

from __future__ import annotations

import pytest
from headway_wire.tenantid import id_from_slug


@pytest.mark.parametrize(
    ("slug", "tenant_id"),
    [
        ("acme", "824a1531-d24a-549c-8003-23b0f2d206cd"),
        ("  ACME ", "824a1531-d24a-549c-8003-23b0f2d206cd"),
        ("default", "b81b7c16-bfb1-5486-87b5-dd509512be63"),
        ("globex", "2465bedb-6186-5936-9e64-ec9f01968e8e"),
        ("team-42", "64e0186c-6031-58ab-8af0-224dc44c1656"),
        ("Über", "2471c48c-26cc-5ccb-ba4e-a83a77677044"),
    ],
)
def test_published_slugs_give_published_ids(slug: str, tenant_id: str) -> None:
    assert id_from_slug(slug) == tenant_id


def test_a_blank_slug_is_refused() -> None:
    with pytest.raises(ValueError, match="blank"):
        id_from_slug("  ")
