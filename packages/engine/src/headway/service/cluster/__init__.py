"""Where work runs: nodes and what they have, placement, services and their checks, drains, group operations.

Decisions are functions over plain values; what they decide is stored as records before anybody is told.
Source: the MirrorNeuron contracts: runtime API, sections 4 and 6; bundles, sections 9 and 12.
"""
