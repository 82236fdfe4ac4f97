"""Runs a plugin: settings, registration, the two links, attempts, grants.  `mirastack_sdk.serve` uses it."""
