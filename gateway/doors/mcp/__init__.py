"""The MCP door: /mcp/{server}, Streamable HTTP. `tools/call` is enforced, `tools/list` filtered, everything else passes untouched.

messages: what a client POSTs, read strictly · sse: event streams taken apart · listing: tools/list answers, filtered · streams: one stream
on its way, with both · refusals: how a no looks · annotations: what servers say of their tools · sight: which of them a
caller sees · calls: tools/call · passage: all other
messages · writing: what goes to the caller · cancelled: telling an upstream that nobody waits any more · door: which of these it is.
"""

SEGMENT = "mcp"
"""Of paths, the first. Here, so that a gateway without MCP servers need not load the door to tell."""
