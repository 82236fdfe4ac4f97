"""The gRPC face of the engine: what plugins call.  Authenticate, translate, call one service function."""
