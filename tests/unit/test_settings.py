"""What the environment may say, and the exact line a bad variable stops the start with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import VARIABLES, Address, SettingsError, read_settings

STATE = (
    "memory:, sqlite:PATH or valkey://[user:password@]host[:port][/db], valkey+sentinel://host[:port],…/name[/db]"
    " or valkey+cluster://host[:port],… (or redis; with TLS valkeys or rediss, which take ?ca_file=PATH;"
    " ?password_file=PATH holds the password)"
)
HOSTS = "host names separated by commas, without ports"
ADDRESS = "host:port, [v6]:port or unix:/path"
COUNT = "an integer 1..100000"
SECONDS = "a number of seconds 0..3600"


def line(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings(environ)
    return str(caught.value)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = read_settings({})
    assert settings.policy == "policies"
    assert settings.listen == Address("127.0.0.1", 8080)
    assert settings.admin_listen == Address("127.0.0.1", 8081)
    assert (settings.admin_token, settings.admin_token_file, settings.admin_hosts) == (None, None, frozenset())
    assert (settings.agent_id, settings.upstream, settings.state) == (None, None, "sqlite:var/gateway.db")
    assert (settings.drain_seconds, settings.drain_idle_seconds, settings.read_timeout) == (25, 10, 10)
    assert (settings.max_in_flight, settings.max_connections) == (1000, 2000)
    assert settings.max_buffered_bytes == 67108864
    assert (settings.log, settings.budgets) == ("-", {})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:80", Address("0.0.0.0", 80)),
        ("localhost:0", Address("localhost", 0)),
        ("Gateway.Internal:65535", Address("gateway.internal", 65535)),
        ("[::1]:8080", Address("::1", 8080)),
        ("[0:0::1]:8080", Address("::1", 8080)),
        ("unix:/run/gateway/data.sock", Address(path="/run/gateway/data.sock")),
    ],
)
def test_an_address_is_a_host_and_port_or_a_unix_socket(text: str, address: Address) -> None:
    assert read_settings({"GATEWAY_LISTEN": text}).listen == address


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "[::1]:8080", "unix:/run/x.sock"])
def test_an_address_prints_as_it_is_written(address: str) -> None:
    assert str(read_settings({"GATEWAY_LISTEN": address}).listen) == address


@pytest.mark.parametrize(
    "text",
    [
        "8080", ":8080", "localhost", "localhost:", "localhost:65536", "localhost:-1", "localhost:٨٠", "localhost:8o", "::1:8080",
        "[127.0.0.1]:80", "[fe80::1%eth0]:80", "1.2.3:80", "300.1.1.1:80", "http://localhost:80", "a b:80", "*:80",
        "unix:", "unix:run/x.sock", "unix:/" + "x" * 107,
    ],
)  # fmt: skip
def test_another_form_of_address_is_refused(text: str) -> None:
    assert line(GATEWAY_LISTEN=text).startswith(f'GATEWAY_LISTEN: expected {ADDRESS}, got "')


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"GATEWAY_LISTEN": "8080"}, f'GATEWAY_LISTEN: expected {ADDRESS}, got "8080"'),
        ({"GATEWAY_ADMIN_LISTEN": "x"}, f'GATEWAY_ADMIN_LISTEN: expected {ADDRESS}, got "x"'),
        ({"GATEWAY_POLICY": ""}, "GATEWAY_POLICY: is empty; expected the path of a policy folder or of one policy file, or leave it unset"),
        ({"GATEWAY_AGENT_ID": "a b"}, 'GATEWAY_AGENT_ID: expected 1 to 128 of A-Za-z0-9._:- (an agent\'s name), got "a b"'),
        ({"GATEWAY_MAX_IN_FLIGHT": "0"}, f'GATEWAY_MAX_IN_FLIGHT: expected {COUNT}, got "0"'),
        ({"GATEWAY_MAX_IN_FLIGHT": "1e3"}, f'GATEWAY_MAX_IN_FLIGHT: expected {COUNT}, got "1e3"'),
        ({"GATEWAY_MAX_CONNECTIONS": "100001"}, f'GATEWAY_MAX_CONNECTIONS: expected {COUNT}, got "100001"'),
        (
            {"GATEWAY_MAX_BUFFERED_BYTES": "1MB"},
            'GATEWAY_MAX_BUFFERED_BYTES: expected a size 128KiB..64GiB (an integer, or one with KiB, MiB, GiB), got "1MB"',
        ),
        ({"GATEWAY_READ_TIMEOUT": "0"}, 'GATEWAY_READ_TIMEOUT: expected a number of seconds 0.1..3600, got "0"'),
        ({"GATEWAY_DRAIN_SECONDS": "-1"}, f'GATEWAY_DRAIN_SECONDS: expected {SECONDS}, got "-1"'),
        ({"GATEWAY_DRAIN_SECONDS": "nan"}, f'GATEWAY_DRAIN_SECONDS: expected {SECONDS}, got "nan"'),
        ({"GATEWAY_DRAIN_IDLE_SECONDS": "10s"}, f'GATEWAY_DRAIN_IDLE_SECONDS: expected {SECONDS}, got "10s"'),
        ({"AGENT_MAX_STEPS": "0"}, 'AGENT_MAX_STEPS: expected an integer 1..1000000, got "0"'),
        ({"AGENT_MAX_TOOL_CALLS": "12.0"}, 'AGENT_MAX_TOOL_CALLS: expected an integer 1..1000000, got "12.0"'),
        ({"AGENT_MAX_SECONDS": "604801"}, 'AGENT_MAX_SECONDS: expected an integer 1..604800, got "604801"'),
        ({"GATEWAY_ADMIN_HOSTS": "a.example:80"}, f'GATEWAY_ADMIN_HOSTS: expected {HOSTS}, got "a.example:80"'),
        ({"GATEWAY_STATE": "postgres://x"}, f"GATEWAY_STATE: expected {STATE}"),
        ({"GATEWAY_STATE": "sqlite:"}, f"GATEWAY_STATE: expected {STATE}"),
        ({"GATEWAY_STATE": "valkey:cache"}, f"GATEWAY_STATE: expected {STATE}"),
        ({"GATEWAY_STATE": "valkey://cache/first"}, f"GATEWAY_STATE: expected {STATE}"),
        ({"GATEWAY_STATE": "redis://cache:6379/0?ca_file=/ca.pem"}, f"GATEWAY_STATE: expected {STATE}"),
        ({"GATEWAY_STATE": "rediss://cache?verify=no"}, f"GATEWAY_STATE: expected {STATE}"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line_with_the_valid_form(environ: dict[str, str], expected: str) -> None:
    assert line(**environ) == expected


@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_may_be_empty(name: str) -> None:
    assert line(**{name: ""}).startswith(f"{name}: is empty; expected ")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("GATEWAY_LISTN", "GATEWAY_LISTEN"),
        ("GATEWAY_ADMIN_TOKENFILE", "GATEWAY_ADMIN_TOKEN_FILE"),
        ("GATEWAY_DRAIN", "GATEWAY_DRAIN_SECONDS"),
        ("GATEWAY_PORTS", "GATEWAY_LOG"),
    ],
)
def test_an_unknown_variable_is_named_with_its_nearest_neighbour(name: str, nearest: str) -> None:
    form = VARIABLES[nearest].form
    assert line(**{name: "x"}) == f"{name}: no such variable; the nearest is {nearest} (expects {form})"


def test_what_kubernetes_injects_is_ignored() -> None:
    injected = {
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
    }
    assert read_settings({**injected, "PATH": "/bin", "AGENT_ID": "x"}) == read_settings({})


@pytest.mark.parametrize(
    ("data", "admin"),
    [
        ("127.0.0.1:9", "127.0.0.1:9"),
        ("0.0.0.0:9", "127.0.0.1:9"),
        ("[::]:9", "127.0.0.1:9"),
        ("unix:/a", "unix:/a"),
        ("127.0.0.1:8081", "127.0.0.1:8081"),
    ],
)
def test_the_planes_never_share_a_port(data: str, admin: str) -> None:
    assert line(GATEWAY_LISTEN=data, GATEWAY_ADMIN_LISTEN=admin) == (
        f"GATEWAY_ADMIN_LISTEN: {admin} is the port of GATEWAY_LISTEN ({data}); the agent must not reach the admin plane:"
        " choose another port"
    )


def test_the_data_plane_on_the_admin_default_is_refused_too() -> None:
    assert "GATEWAY_ADMIN_LISTEN: 127.0.0.1:8081 is the port of GATEWAY_LISTEN" in line(GATEWAY_LISTEN="0.0.0.0:8081")


def test_two_chosen_by_the_system_differ() -> None:
    settings = read_settings({"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"})
    assert settings.listen.port == settings.admin_listen.port == 0


def test_an_idle_time_beyond_the_drain_time_is_refused() -> None:
    said = line(GATEWAY_DRAIN_SECONDS="5", GATEWAY_DRAIN_IDLE_SECONDS="6")
    assert said == "GATEWAY_DRAIN_IDLE_SECONDS: 6 is longer than GATEWAY_DRAIN_SECONDS (5); expected at most that"


def test_the_default_idle_time_gives_way_to_a_short_drain() -> None:
    assert read_settings({"GATEWAY_DRAIN_SECONDS": "5"}).drain_idle_seconds == 5


@pytest.mark.parametrize(
    ("text", "size"), [("131072", 131072), ("128KiB", 131072), ("4 MiB", 4 << 20), ("1GiB", 1 << 30)]
)
def test_a_size_takes_a_unit(text: str, size: int) -> None:
    assert read_settings({"GATEWAY_MAX_BUFFERED_BYTES": text}).max_buffered_bytes == size


def test_admin_hosts_are_a_list_without_case_or_final_dot() -> None:
    hosts = read_settings({"GATEWAY_ADMIN_HOSTS": "Ops.Example., gw"}).admin_hosts
    assert hosts == {"ops.example", "gw"}


def test_budgets_are_those_that_are_set() -> None:
    assert read_settings({"AGENT_MAX_STEPS": "7", "AGENT_MAX_SECONDS": "90"}).budgets == {
        "AGENT_MAX_STEPS": 7,
        "AGENT_MAX_SECONDS": 90,
    }


def test_one_admin_token_only() -> None:
    assert line(GATEWAY_ADMIN_TOKEN="s3cret", GATEWAY_ADMIN_TOKEN_FILE="/run/t") == (
        "GATEWAY_ADMIN_TOKEN_FILE: GATEWAY_ADMIN_TOKEN is set too; set one of the two"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {"GATEWAY_ADMIN_TOKEN": "hunter2 hunter2"},
        {"GATEWAY_UPSTREAM": "http://user:hunter2@tools:9000"},
        {"GATEWAY_UPSTREAM": "http://tools:9000/?key=hunter2"},
        {"GATEWAY_UPSTREAM": "http://hunter2:port"},
        {"GATEWAY_STATE": "postgres://user:hunter2@db"},
        {"GATEWAY_STATE": "valkey://user:hunter2@db:port"},
        {"GATEWAY_LISTEN": "http://user:hunter2@localhost"},
    ],
)
def test_no_line_repeats_what_could_be_secret(environ: dict[str, str]) -> None:
    said = line(**environ)
    assert "hunter2" not in said
    assert said.startswith(next(iter(environ)))


def test_a_token_is_no_part_of_the_settings_repr() -> None:
    assert "hunter2" not in repr(read_settings({"GATEWAY_ADMIN_TOKEN": "hunter2"}))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "https://tools.internal/base/", "http://[::1]:9000"])
def test_the_upstream_is_kept_as_written(url: str) -> None:
    assert read_settings({"GATEWAY_UPSTREAM": url}).upstream == url


@given(st.sampled_from(sorted(VARIABLES)), st.text(max_size=60))
def test_any_text_is_taken_or_refused_with_one_line_that_names_the_variable(name: str, text: str) -> None:
    try:
        read_settings({name: text})
    except SettingsError as error:
        said = str(error)
        assert said.startswith(f"{name}: ") or "GATEWAY_ADMIN_LISTEN: " in said
        assert said.isprintable()
