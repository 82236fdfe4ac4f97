"""Definitions: jobs that are kept, and run many times."""

from headway.service.definitions.definitions import Definitions

__all__ = ["Definitions"]
