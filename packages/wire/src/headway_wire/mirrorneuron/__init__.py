"""The runtime API of MirrorNeuron: its messages, generated from the .proto files here, and its calls.

`make proto` generates the modules that end in _pb2; they are never edited.
"""
