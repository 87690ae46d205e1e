"""`python -m tests.mcp.conformance.server`: the server that the conformance suite is run against."""

import tests.mcp.conformance.asking  # noqa: F401  adds its tools
from tests.mcp.conformance.fixtures import server
from tests.mcp.serving import RESUMED_AFTER_MS, Kept, serve

if __name__ == "__main__":
    serve(server.streamable_http_app(event_store=Kept(), retry_interval=RESUMED_AFTER_MS))
