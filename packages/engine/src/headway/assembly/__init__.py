"""The only place that names the engine's concrete classes together: it is put together here, by hand."""

from headway.assembly.house import House, assemble, reset_admin_key, run_engine

__all__ = ["House", "assemble", "reset_admin_key", "run_engine"]
