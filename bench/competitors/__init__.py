"""Everything that is measured beside the gateway, in the order of the table."""

from bench.competitors import aiohttp_proxy, contextforge, envoy, haproxy, litellm, mitmproxy, nginx

ALL = (
    *nginx.SUBJECTS,
    *haproxy.SUBJECTS,
    *envoy.SUBJECTS,
    *aiohttp_proxy.SUBJECTS,
    *mitmproxy.SUBJECTS,
    *litellm.SUBJECTS,
    *contextforge.SUBJECTS,
)
