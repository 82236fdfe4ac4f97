"""An engine may want a shared token from every plugin; the SDK sends the one it was given."""

from __future__ import annotations

from headway_wire.codec import PLUGIN_TOKEN_KEY
from mirastack_sdk.runtime.settings import read_settings
from mirastack_sdk.serve import _metadata


def test_the_token_of_the_environment_travels_with_every_call_and_nothing_travels_without_one() -> None:
    told = {"MIRASTACK_PLUGIN_TENANT_SLUG": "acme", "MIRASTACK_PLUGIN_TOKEN": " s3cret "}

    with_token = _metadata("host", read_settings(told).token)
    without = _metadata("host", read_settings({"MIRASTACK_PLUGIN_TENANT_SLUG": "acme"}).token)

    assert with_token[PLUGIN_TOKEN_KEY] == "s3cret"
    assert PLUGIN_TOKEN_KEY not in without
