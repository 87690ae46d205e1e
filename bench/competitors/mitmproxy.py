"""mitmproxy as a reverse proxy that prints nothing."""

from bench.subjects import Command, Place, Subject, in_venv, version_in_venv


def command(place: Place) -> Command:
    options = [
        "--quiet",
        "--set",
        f"confdir={place.folder}",
        "--listen-host",
        "127.0.0.1",
        "--listen-port",
        str(place.port),
    ]
    return Command(
        [in_venv("mitmproxy", "mitmdump"), *options, "--mode", f"reverse:http://127.0.0.1:{place.tool_port}"]
    )


def version() -> str:
    return version_in_venv("mitmproxy", "mitmproxy")


SUBJECTS = (Subject("mitmproxy", version, command, slow=True, calls_per_second=200),)
