"""One function for each call of the runtime API: from its arguments to a `Call`.  Used by both clients."""
