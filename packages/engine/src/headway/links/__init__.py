"""How the engine reaches plugins: the stream link, the callback link, functions of this process, and the router."""
