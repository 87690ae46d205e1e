"""Whether calls are traced, from the variables of OpenTelemetry's SDK. The SDK is imported only where they are."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.model import Event
from gateway.settings import SettingsError

if TYPE_CHECKING:
    from gateway.observers.traces import Traces

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
QUEUE, MOST_WAITING = "OTEL_BSP_MAX_QUEUE_SIZE", 2048
"""Spans that wait to be sent, and the SDK's default."""
CLOSE_SECONDS = 2.0
"""For the last spans, when the process ends."""


def traces_of(environ: Mapping[str, str], tell: Callable[[Event], None]) -> "Traces | None":
    """None: nobody takes spans. Raises SettingsError, with the remedy, where somebody would and none can be sent."""
    endpoint = next((name for name in ENDPOINTS if environ.get(name, "").strip()), None)
    if endpoint is None or _switched_off(environ):
        return None
    if not _is_http(environ[endpoint].strip()):
        raise SettingsError(f"{endpoint}: expected http://HOST:4318, where a collector takes OTLP over HTTP")
    protocol = next((name for name in PROTOCOLS if environ.get(name, "").strip()), None)
    if protocol is not None and environ[protocol].strip() != "http/protobuf":
        raise SettingsError(f"{protocol}: the gateway speaks http/protobuf alone, which a collector takes on port 4318")
    waiting = environ.get(QUEUE, "").strip() or str(MOST_WAITING)
    if not (waiting.isascii() and waiting.isdigit() and len(waiting) <= 7 and int(waiting)):
        raise SettingsError(f"{QUEUE}: expected a number of spans above 0")
    try:
        from gateway.observers.traces import Traces
    except ModuleNotFoundError:
        raise SettingsError(
            f"{endpoint} is set, but OpenTelemetry's SDK is not installed: pip install 'tool-gateway[otel]', or unset it"
        ) from None
    try:
        return Traces(tell, int(waiting))
    except ValueError as error:
        raise SettingsError(f"OTEL_*: OpenTelemetry's SDK does not take a value that is set: {error}") from None


def _is_http(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # brackets or a port that are none
        return False


def _switched_off(environ: Mapping[str, str]) -> bool:
    none = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    return none or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
