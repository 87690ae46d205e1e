"""The governed door: OnceOnly's wire protocol under /v1 (docs/governed.md). `door` says who may ask for what, `running` makes tool calls
of it, `results` puts their ends into words; `policies`, `agents` and `registry` keep what callers set, by way of `governance`;
`locks` and `leases` keep who does what on a `shelf`.
"""

SEGMENT = "v1"
"""Of paths, the first. Here, so that a gateway whose policy keeps the door shut need not load it to tell."""
