"""The clients of the runtime API and what serves it, together."""
