"""Headway's engine: runs plans, durably, and lets nothing change a system before its gate is passed."""

__version__ = "0.1.0"
