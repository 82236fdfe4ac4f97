"""The commands of `mn`, a module for each group."""
