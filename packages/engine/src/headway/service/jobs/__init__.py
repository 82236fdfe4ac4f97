"""Jobs: runs of bundles, as the MirrorNeuron contract shows them."""

from headway.service.jobs.jobs import Jobs

__all__ = ["Jobs"]
