"""The command-line clients of Headway: `miractl`.  They speak the REST interface and nothing else."""

__version__ = "0.1.0"
