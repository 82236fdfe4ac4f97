"""The `host` agent: reads the machine it runs on, and cleans folders that its operator allowed."""

__version__ = "0.1.0"
