import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.document.problems import Findings, Mark, Place
from gateway.policy.plans.routes import Routes
from gateway.policy.snapshot import RouteMatch

PATHS = st.lists(st.sampled_from(["a", "b"]), max_size=2).map(lambda parts: "/" + "/".join(parts))
ROUTES = st.builds(
    lambda method, path, rest: f"{method} {path.rstrip('/') + '/{rest*}' if rest else path}",
    st.sampled_from(["ANY", "GET", "HEAD", "POST"]),
    PATHS,
    st.booleans(),
)


def table(*routes: str) -> tuple[Routes, list[str]]:
    """Tools named t0, t1, … and the routes that were refused."""
    findings = Findings("policy.yaml", Mark(Place(1, 1)))
    made = Routes()
    for number, route in enumerate(routes):
        made.add(f"t{number}", route, findings)
    return made, [problem.key for problem in findings.problems]


def takes(route: str, method: str, path: str) -> bool:
    """The rule as one would tell it."""
    wanted, _, pattern = route.partition(" ")
    if wanted not in ("ANY", method) and not (wanted == "GET" and method == "HEAD"):
        return False
    return path.startswith(pattern.removesuffix("{rest*}")) if pattern.endswith("{rest*}") else path == pattern


@given(st.lists(ROUTES, max_size=8), st.sampled_from(["GET", "HEAD", "POST", "PUT"]), PATHS)
def test_a_route_that_takes_the_request_is_found_and_the_most_literal_wins(
    routes: list[str], method: str, path: str
) -> None:
    made, refused = table(*routes)
    kept = [(f"t{n}", r) for n, r in enumerate(routes) if f"tools.definitions.t{n}.route" not in refused]
    fitting = [(name, route) for name, route in kept if takes(route, method, path)]
    best = max(fitting, key=lambda pair: (not pair[1].endswith("*}"), len(pair[1].split(" ")[1])), default=None)
    found = made.find(method, path)
    if best is not None:
        assert found is not None
        assert found.tool == best[0]
    elif found is not None:  # the path is a tool's, the method is not
        assert found.methods is not None
        assert method not in found.methods


def test_of_two_prefixes_the_longer_wins() -> None:
    for routes in (
        ["ANY /{rest*}", "ANY /a/{rest*}", "ANY /a/b/{rest*}"],
        ["ANY /a/b/{rest*}", "ANY /a/{rest*}", "ANY /{rest*}"],
    ):
        made, _ = table(*routes)
        found = [made.find("GET", path) for path in ("/x", "/a/x", "/a/b/x")]
        assert [routes[int(match.tool[1:])] for match in found if match] == sorted(routes, key=len)


def test_get_implies_head() -> None:
    made, _ = table("GET /a")
    assert made.find("HEAD", "/a") == RouteMatch("t0", frozenset(["GET", "HEAD"]))


def test_a_rest_needs_the_slash_before_it() -> None:
    made, _ = table("GET /a/{rest*}")
    assert made.find("GET", "/a/") is not None
    assert made.find("GET", "/a/b/c") is not None
    assert made.find("GET", "/a") is None
    assert made.find("GET", "/ab") is None


def test_a_method_no_tool_takes_tells_those_that_would_do() -> None:
    made, _ = table("GET /a", "POST /a")
    assert made.find("PUT", "/a") == RouteMatch("t0", frozenset(["GET", "HEAD", "POST"]))


def test_a_literal_path_does_not_hide_a_prefix_that_takes_the_method() -> None:
    made, refused = table("GET /a/b", "ANY /a/{rest*}")
    assert refused == []
    assert made.find("PUT", "/a/b") == RouteMatch("t1", None)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("GET /a", "GET /a"),
        ("ANY /a", "POST /a"),
        ("POST /a", "ANY /a"),
        ("GET /a", "HEAD /a"),
        ("GET /{rest*}", "ANY /{rest*}"),
    ],
)
def test_two_routes_for_one_request_are_refused(first: str, second: str) -> None:
    assert table(first, second)[1] == ["tools.definitions.t1.route"]


@pytest.mark.parametrize("segment", ["tools", "mcp", "runs", "_gateway", "healthz", "readyz"])
def test_the_gateways_own_paths_are_reserved(segment: str) -> None:
    assert table(f"GET /{segment}", f"ANY /{segment}/{{rest*}}", f"GET /{segment}s")[1] == [
        "tools.definitions.t0.route",
        "tools.definitions.t1.route",
    ]


def test_a_long_path_costs_no_more_probes_than_the_deepest_prefix() -> None:
    made, _ = table("GET /a/{rest*}")
    assert len(made._shelves("/a" + "/x" * 100_000)) == 1
