"""HAProxy: passing calls through, and with what it has of the gateway's features."""

import shutil
import subprocess

from bench.subjects import PATH, Command, Missing, Place, Subject

CONFIGURATION = """
global
    nbthread 1
    maxconn 4096
    %(log)s
defaults
    mode http
    timeout client 75s
    timeout connect 2s
    timeout server 8s
    http-reuse always
frontend agents
    bind 127.0.0.1:%(port)d
    default_backend tool
    %(frontend)s
backend tool
    server tool 127.0.0.1:%(tool_port)d
    %(backend)s
"""
FRONTEND = """
    acl allowed path %(path)s
    http-request deny deny_status 403 unless allowed
    stick-table type string len 64 size 100k expire 1m store http_req_rate(1s)
    http-request track-sc0 req.hdr(Agent-Run-Id)
    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 }
    unique-id-format %%[uuid]
    http-request capture req.hdr(Agent-Run-Id) len 64
    log global
    log-format '%(line)s'
"""
LINE = (
    '{"time":"%tr","method":"%HM","path":"%HP","run":"%[capture.req.hdr(0),json(utf8s)]",'
    '"status":%ST,"ms":%Ta,"upstream_ms":%Tr,"bytes":%B,"id":"%ID"}'
)
BACKEND = """
    retries 2
    retry-on conn-failure empty-response response-timeout 502 503 504
"""


def command(place: Place, log: str, frontend: str, backend: str) -> Command:
    file = place.folder / "haproxy.cfg"
    values = {"port": place.port, "tool_port": place.tool_port, "log": log, "frontend": frontend, "backend": backend}
    file.write_text(CONFIGURATION % values)
    return Command(["haproxy", "-db", "-f", str(file)])


def plain(place: Place) -> Command:
    return command(place, "", "", "")


def with_features(place: Place) -> Command:
    """Its log goes to standard output, a file here."""
    return command(place, "log stdout format raw local0", FRONTEND % {"path": PATH, "line": LINE}, BACKEND)


def version() -> str:
    if shutil.which("haproxy") is None:
        raise Missing("not installed (apt-get install haproxy)")
    said = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    return said.split()[2].partition("-")[0]


SUBJECTS = (Subject("HAProxy", version, plain), Subject("HAProxy with features", version, with_features))
