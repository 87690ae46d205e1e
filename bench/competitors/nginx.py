"""nginx: passing calls through, and with what it has of the gateway's features."""

import shutil
import subprocess

from bench.subjects import PATH, Command, Missing, Place, Subject

SHARED = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
"""
"""Of every nginx here, the tool's too. Paths are relative to the folder it is started with."""

CONFIGURATION = """%(shared)s
http {
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 1000000000;
    upstream tool {
        server 127.0.0.1:%(tool_port)d;
        keepalive 256;
        keepalive_requests 1000000000;
    }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {
        listen 127.0.0.1:%(port)d;
        %(server)s
    }
    %(features)s
}
"""
FEATURES = """
    log_format json escape=json '{"time":"$time_iso8601","method":"$request_method","path":"$uri","run":"$http_agent_run_id",'
        '"status":$status,"seconds":$request_time,"upstream_seconds":"$upstream_response_time","bytes":$body_bytes_sent,"id":"$request_id"}';
    access_log log.jsonl json buffer=64k flush=1s;
    limit_req_zone $http_agent_run_id zone=runs:10m rate=100000000r/s;
"""
SERVER = """
        location = %(path)s {
            limit_req zone=runs burst=1000 nodelay;
            proxy_pass http://tool;
            proxy_connect_timeout 2s;
            proxy_read_timeout 8s;
            proxy_next_upstream error timeout http_502 http_503 http_504 non_idempotent;
            proxy_next_upstream_tries 3;
        }
        location / { return 403; }
"""


def command(place: Place, server: str, features: str) -> Command:
    file = place.folder / "nginx.conf"
    values = {
        "shared": SHARED,
        "port": place.port,
        "tool_port": place.tool_port,
        "server": server,
        "features": features,
    }
    file.write_text(CONFIGURATION % values)
    return Command(["nginx", "-p", str(place.folder), "-c", str(file)])


def plain(place: Place) -> Command:
    return command(place, "location / { proxy_pass http://tool; }", "access_log off;")


def with_features(place: Place) -> Command:
    return command(place, SERVER % {"path": PATH}, FEATURES)


def version() -> str:
    if shutil.which("nginx") is None:
        raise Missing("not installed (apt-get install nginx)")
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().partition("/")[2]


SUBJECTS = (Subject("nginx", version, plain), Subject("nginx with features", version, with_features))
