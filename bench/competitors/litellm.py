"""LiteLLM's proxy with one pass-through endpoint and its master key: no model, no database."""

import json
import secrets

from bench.subjects import PATH, Call, Command, Place, Subject, in_venv, version_in_venv
from bench.wire import JSON_HEADERS

KEY = f"sk-{secrets.token_hex(32)}"
"""It refuses to start with a weak one, and passes nothing on without."""


def command(place: Place) -> Command:
    endpoint = {"path": PATH, "target": f"http://127.0.0.1:{place.tool_port}{PATH}", "forward_headers": True}
    settings = {"pass_through_endpoints": [endpoint], "master_key": KEY}
    file = place.folder / "config.yaml"  # JSON is YAML
    file.write_text(json.dumps({"model_list": [], "general_settings": settings}))
    options = ["--config", str(file), "--host", "127.0.0.1", "--port", str(place.port), "--telemetry", "False"]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "HOME": str(place.folder)}
    return Command([in_venv("litellm", "litellm"), *options], quiet)


def version() -> str:
    return version_in_venv("litellm", "litellm")


CALL = Call(headers={**JSON_HEADERS, "Authorization": f"Bearer {KEY}"})
SUBJECTS = (Subject("LiteLLM proxy", version, command, CALL, slow=True, calls_per_second=20, most_connections=16),)
