"""Whether calls are traced, as the variables say."""

from collections.abc import Mapping

import pytest

from gateway.settings import SettingsError
from gateway.tracing import ENDPOINTS, traces_of

HERE = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_SERVICE_NAME": "named"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": HERE, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_or_when_switched_off_nothing_is_traced(environ: Mapping[str, str]) -> None:
    assert traces_of(environ, print) is None


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "value",
    [
        "collector:4318",
        "grpc://collector:4317",
        "http://",
        "http://:4318",
        "//collector",
        "http://[",
        "http://collector:http",
        "http://collector:70000",
    ],
)
def test_an_endpoint_that_is_none_is_refused_without_being_repeated(endpoint: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        traces_of({endpoint: value}, print)
    assert str(refused.value) == f"{endpoint}: expected http://HOST:4318, where a collector takes OTLP over HTTP"


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "the gateway speaks http/protobuf alone, which a collector takes on port 4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "the gateway speaks http/protobuf alone, which a collector takes on port 4318"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "expected a number of spans above 0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "expected a number of spans above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_with_the_remedy(variable: str, value: str, line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        traces_of({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, variable: value}, print)
    assert str(refused.value) == f"{variable}: {line}"


def test_what_the_sdk_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4000", "OTEL_EXPORTER_OTLP_ENDPOINT": HERE}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(
        SettingsError, match="OTEL_\\*: OpenTelemetry's SDK does not take a value that is set: max_export_batch_size"
    ):
        traces_of({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}, print)
