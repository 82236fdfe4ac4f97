"""Author, compile and submit workflows.

    from mn_sdk import Client, agent, workflow

Names are imported when they are first used: to decorate functions costs nothing of the compiler, and neither
needs the network stack of `Client`.
"""

# No `typing` here, for it takes a third of the time in which a worker starts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mn_sdk import agent, workflow
    from mn_sdk.async_client import AsyncClient
    from mn_sdk.client import Client
    from mn_sdk.compiler import BundleCompileError, build_bundle, build_bundle_from_source
    from mn_sdk.policies import BackpressurePolicy, RetryPolicy, RunnerConfig
    from mn_sdk.schedules import delayed_schedule, event_schedule, periodic_schedule
del TYPE_CHECKING

__all__ = [
    "AsyncClient",
    "BackpressurePolicy",
    "BundleCompileError",
    "Client",
    "RetryPolicy",
    "RunnerConfig",
    "__version__",
    "agent",
    "build_bundle",
    "build_bundle_from_source",
    "delayed_schedule",
    "event_schedule",
    "periodic_schedule",
    "workflow",
]

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "async_client",
    "BackpressurePolicy": "policies",
    "BundleCompileError": "compiler",
    "Client": "client",
    "RetryPolicy": "policies",
    "RunnerConfig": "policies",
    "agent": "agent",
    "build_bundle": "compiler",
    "build_bundle_from_source": "compiler",
    "delayed_schedule": "schedules",
    "event_schedule": "schedules",
    "periodic_schedule": "schedules",
    "workflow": "workflow",
}
"""The module of each name; a module that has the name itself is what the name stands for."""


def __getattr__(name: str) -> object:
    """The public name `name`, imported now."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = __import__(f"{__name__}.{home}", fromlist=["*"])
    value: object = module if home == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
