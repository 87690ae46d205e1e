"""An example agent for a container: budgets from the environment, every tool call through the gateway, no package to install.

    python agent.py                                                    serves GET /health and POST /tasks
    python agent.py '{"plan": [[{"tool": "search.read", "arguments": {"q": "budgets"}}]]}'    runs one task and prints how it ended

A task's plan stands in for the model: a list of steps, each a list of tool calls; `"repeat": true` goes through it for ever, as a
model that has lost its way would. Replace `think` to put a model there.
"""

import http.client
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit

TOOL_BASE_URL = os.environ.get("TOOL_BASE_URL", "http://127.0.0.1:8080")
MAX_STEPS = int(os.environ.get("AGENT_MAX_STEPS", "25"))
MAX_TOOL_CALLS = int(os.environ.get("AGENT_MAX_TOOL_CALLS", "12"))
MAX_SECONDS = float(os.environ.get("AGENT_MAX_SECONDS", "60"))

Json = dict[str, Any]


class Stop(Exception):
    """The run ends here; its text is the stop reason."""


@dataclass
class Answer:
    """What came back for one request to the gateway."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def problem(self) -> Json | None:
        """The gateway's refusal or failure; None where the tool itself answered, even with an error of its own."""
        if self.status < 400 or self.headers.get("tool-gateway-reason") in ("ok", "dedup", "tool_error"):
            return None
        try:
            problem = json.loads(self.body)
        except ValueError:
            return {"detail": f"HTTP {self.status}"}
        return problem if isinstance(problem, dict) else {"detail": f"HTTP {self.status}"}

    @property
    def wait(self) -> float | None:
        """Seconds after which the same call can succeed; None: do not repeat it."""
        if self.headers.get("x-should-retry") == "false" or not (self.problem or {}).get("retryable"):
            return None
        after = self.headers.get("retry-after", "")
        return float(after) if after.isdigit() else None


@dataclass
class Run:
    """One task, from its first step to its stop reason."""

    id: str = field(default_factory=lambda: f"run-{uuid.uuid4().hex}")
    started: float = field(default_factory=time.monotonic)
    steps: int = 0
    tool_calls: int = 0
    observations: list[Json] = field(default_factory=list)
    """What the model would read next: each tool's answer, or why there is none."""

    def remaining(self) -> float:
        """Seconds left. Raises Stop where there are none."""
        left = MAX_SECONDS - (time.monotonic() - self.started)
        if left <= 0:
            raise Stop("max_seconds")
        return left

    def step(self) -> None:
        """Announces a step, so that the gateway counts it too."""
        if self.steps >= MAX_STEPS:
            raise Stop("max_steps")
        heed(post(f"/_gateway/runs/{self.id}/steps", {}, self.remaining()))
        self.steps += 1

    def call(self, tool: str, arguments: Json) -> None:
        """One use of a tool. Only what the gateway says to repeat after a while is repeated: all other retries are the gateway's."""
        while True:
            if self.tool_calls >= MAX_TOOL_CALLS:
                raise Stop("max_tool_calls")
            answer = post(f"/runs/{self.id}/tools/{quote(tool)}", arguments, self.remaining())
            problem = heed(answer)
            self.tool_calls += 1
            if answer.wait is None or answer.wait >= self.remaining():
                break
            time.sleep(answer.wait)
        self.observations.append(
            {"tool": tool, "refused": problem.get("reason"), "detail": problem.get("detail")}
            if problem
            else {"tool": tool, "status": answer.status, "result": answer.body}
        )

    def finish(self, stop_reason: str) -> Json:
        """Ends the run at the gateway, so that nothing can be called in its name any more."""
        try:
            post(f"/_gateway/runs/{self.id}/finish", {"stop_reason": stop_reason}, 5)
        except Stop as unreachable:
            self.observations.append({"detail": f"the gateway was not told that the run ended: {unreachable}"})
        result = asdict(self) | {"seconds": round(time.monotonic() - self.started, 3), "stop_reason": stop_reason}
        del result["started"]
        return result


def run_request(task: Json) -> Json:
    """Runs a task to its end and says why it ended: finish, max_steps, max_tool_calls, max_seconds, or the gateway's stop_reason."""
    run = Run()
    try:
        for calls in think(task, run.observations):
            run.step()
            for call in calls:
                run.call(call["tool"], call.get("arguments", {}))
    except Stop as stop:
        return run.finish(str(stop))
    return run.finish("finish")


def think(task: Json, observations: list[Json]) -> Iterator[list[Json]]:  # noqa: ARG001  # a model would read them
    """The model: the tool calls of each next step. This one follows the task's plan and does not read its observations."""
    while True:
        yield from task["plan"]
        if not (task["plan"] and task.get("repeat")):
            return


def heed(answer: Answer) -> Json | None:
    """The gateway's refusal, if it is one. Raises Stop where it says that the run should end."""
    problem = answer.problem
    if problem and problem.get("stop_reason"):
        raise Stop(problem["stop_reason"])
    return problem


def post(path: str, body: Json, seconds: float) -> Answer:
    """One request to the gateway. There is no way round it: where it cannot be reached, the run stops."""
    url = urlsplit(TOOL_BASE_URL)
    connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = connect(url.hostname or "", url.port, timeout=seconds)
    try:
        connection.request("POST", url.path.rstrip("/") + path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read().decode("utf-8", "replace"))
    except TimeoutError:
        raise Stop("max_seconds") from None
    except (OSError, http.client.HTTPException):
        raise Stop("gateway_unreachable") from None
    finally:
        connection.close()


class Server(BaseHTTPRequestHandler):
    """GET /health for the platform, POST /tasks for work."""

    def do_GET(self) -> None:
        """The process can answer. Whether the gateway can is told by the gateway's own health."""
        self._send(*((200, {"ok": True}) if self.path == "/health" else (404, {"error": "GET /health or POST /tasks"})))

    def do_POST(self) -> None:
        """Runs the task in the body."""
        if self.path != "/tasks":
            self._send(404, {"error": "GET /health or POST /tasks"})
            return
        try:
            task = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            self._send(200, run_request(task))
        except (ValueError, TypeError, KeyError, AttributeError):
            self._send(400, {"error": 'expected {"plan": [[{"tool": "…", "arguments": {}}]]}'})

    def _send(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Runs the task of the command line, or serves until SIGTERM."""
    if len(sys.argv) > 1:
        print(json.dumps(run_request(json.loads(sys.argv[1])), indent=2))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000")))
    with ThreadingHTTPServer(address, Server) as server:
        print(f"agent at http://{address[0]}:{server.server_port}, tools at {TOOL_BASE_URL}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
