"""The closed loop: wrk keeps so many connections busy, which gives calls per second and CPU time a call."""

import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.subjects import Place, Subject

RUNS = 16
"""How many runs the agents name in turn."""
SCRIPT = """
wrk.method, wrk.body = "POST", %(body)s
local heads, calls, number, fresh = {%(headers)s}, {}, 0, %(fresh)s

function init()
    for run = 1, %(runs)d do
        heads["Agent-Run-Id"] = "bench-" .. run
        calls[run] = wrk.format(nil, nil, heads)
    end
end

function request()
    number = number + 1
    local call = calls[number %% %(runs)d + 1]
    if fresh then
        local id = string.format("%%016x%%016x", number * 7919, number)
        call = call:gsub("\\r\\n", "\\r\\ntraceparent: 00-" .. id .. "-00f067aa0ba902b7-01\\r\\n", 1)
    end
    return call
end

function done(summary, _, _)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format('\\n{"calls": %%d, "seconds": %%f, "failed": %%d}\\n', summary.requests, summary.duration / 1e6, failed))
end
"""


class Load(NamedTuple):
    calls: int
    seconds: float


class Failed(Exception):
    """A call was not answered, or not 200: the figures would be of something else."""


def load(
    subject: Subject, place: Place, core: int, connections: int, seconds: float, meanwhile: Callable[[], None]
) -> Load:
    """`meanwhile` is called a few times a second. Raises Failed."""
    call = subject.call
    script = place.folder / "call.lua"
    values = {
        "body": lua(call.body.decode()),
        "headers": ", ".join(f"[ {lua(name)} ] = {lua(value)}" for name, value in call.headers.items()),
        "fresh": "true" if subject.fresh_heads else "false",
        "runs": RUNS,
    }
    script.write_text(SCRIPT % values)
    return _wrk(script, f"http://127.0.0.1:{place.port}{call.path}", core, connections, seconds, meanwhile)


def _wrk(script: Path, url: str, core: int, connections: int, seconds: float, meanwhile: Callable[[], None]) -> Load:
    """wrk knows whole seconds alone."""
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command = ["taskset", "--cpu-list", str(core), "wrk", *options, "--timeout", "30s", "--script", str(script), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                said, _ = wrk.communicate(timeout=0.25)
                break
            meanwhile()
    if wrk.returncode:
        raise Failed(f"wrk ended with {wrk.returncode}")
    result = json.loads(said.rstrip().rpartition("\n")[2])
    if result["failed"] or not result["calls"]:
        raise Failed(f"{result['failed']} of {result['calls']} calls failed with {connections} connections")
    return Load(result["calls"], result["seconds"])


def lua(text: str) -> str:
    return f"[==[{text}]==]"
