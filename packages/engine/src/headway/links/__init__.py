"""How the engine reaches plugins: over their stream, at their address, or in this process."""
