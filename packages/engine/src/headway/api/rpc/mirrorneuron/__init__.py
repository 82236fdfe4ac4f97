"""The MirrorNeuron face of the engine: what `mn_sdk.Client` and `mn` call over gRPC.

Source: the runtime API in docs/reference/mirrorneuron-api.md.
"""
