"""One program for each peer, run in the peer's own environment; none of them imports Headway."""
