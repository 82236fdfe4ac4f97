"""The REST API: authenticate, translate, call one service function.  See docs/reference/rest-api.md."""
