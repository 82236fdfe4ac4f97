"""Ratios beside the peers a user would pick and beside the limit of the machine: `python -m bench`.

Importing this package needs the standard library only: programs under `bench.peers` run in environments of
their own, where nothing of Headway is installed.
"""
