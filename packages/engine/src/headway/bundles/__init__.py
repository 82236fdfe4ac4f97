"""Bundles to plans: one more way to write what the core runs."""

from headway.bundles.compiler import plan_of

__all__ = ["plan_of"]
