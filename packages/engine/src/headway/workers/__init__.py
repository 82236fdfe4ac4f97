"""Running worker processes: co-located plugins, and what runs bundles."""
