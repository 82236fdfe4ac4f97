"""The name under which blueprints in Python are compiled: what it does is in `mn_sdk.blueprint_support`."""

from mn_sdk.blueprint_support import Blueprint, compile_blueprint, generate_bundle

__all__ = ["Blueprint", "compile_blueprint", "generate_bundle"]
