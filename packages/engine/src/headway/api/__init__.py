"""Surfaces of the engine."""
