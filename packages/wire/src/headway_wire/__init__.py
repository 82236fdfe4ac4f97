"""What two processes agree on: messages, codecs, errors, the plugin host and the client channel.

Import the module you need (`headway_wire.errors`, `headway_wire.channel`, ...).  This package imports none of
them by itself, so that the rules of the engine can use `errors` without paying for a network stack.
"""
