"""Runbooks: workflows that people write in YAML, checked as a whole and compiled to plans."""
