"""Author, compile and submit workflows: the place of `mn_sdk`.

This package holds its name and version only.  The bundle contract is not implemented yet.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
