"""Write a model provider: the place of `mirastack_provider_sdk`.

This package holds its name and version only.  The provider contract is not implemented yet.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
