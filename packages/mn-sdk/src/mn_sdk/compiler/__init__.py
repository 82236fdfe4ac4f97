"""The compiler: reads the source of a workflow, writes a bundle, and never executes what it reads."""

from mn_sdk.compiler.build import (
    BundleOptions,
    build_bundle,
    build_bundle_from_source,
    compile_source,
    workflows_in,
)
from mn_sdk.compiler.mistakes import BundleCompileError

__all__ = [
    "BundleCompileError",
    "BundleOptions",
    "build_bundle",
    "build_bundle_from_source",
    "compile_source",
    "workflows_in",
]
