"""One verb a function, and loops.  Services know ports and the core, never an adapter."""
