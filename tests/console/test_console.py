"""The console in a real browser: what an operator sees, and stops."""

import json

import pytest

from gateway.clock import clock
from tests.admin.admin_plane import TOKEN
from tests.console.browser import PROGRAM, Page
from tests.console.plant import Plant
from tests.unit.observers.observer_records import record

pytestmark = pytest.mark.needs(PROGRAM)

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>"


async def test_without_a_token_it_says_where_to_find_one_and_shows_nothing(works: Plant, stranger: Page) -> None:
    await works.call("search.read")
    await stranger.see("#token-dialog", "cat var/admin_token")
    await stranger.fill("Token", "“pasted with its quotes”")
    await stranger.click("Connect")
    await stranger.see("#token:invalid:focus")
    await stranger.fill("Token", "a-guess")
    await stranger.click("Connect")
    await stranger.see("#token-problem", "This is not the admin token")
    assert await stranger("number", "#calls-rows tr") == 0


async def test_the_token_is_asked_once_and_kept_out_of_urls_and_disk(console: Page) -> None:
    kept = await console("run", "[location.href, document.cookie, JSON.stringify(localStorage), sessionStorage.length]")
    assert TOKEN not in json.dumps(kept)
    assert kept[3] == 1
    await console("run", "location.reload()")
    await console.see("#state", "serving")
    await console.click("Forget token")
    await console.see("#token-dialog", "Admin token")
    assert await console("run", "sessionStorage.length") == 0


async def test_a_call_arrives_as_it_ends_and_tells_its_story(works: Plant, console: Page) -> None:
    await console.see("#calls-empty", "No call has ended yet.")
    assert await works.call("flaky", "billing-agent", "invoice-7") == (200, "ok")
    await works.call("flaky", "billing-agent", "invoice-7", {"other": 1})
    await console.see("#calls-rows tr", "billing-agent")
    assert await works.call("notes.write", "billing-agent", "invoice-7") == (403, "tool_not_allowed")
    await console.see("#calls-rows tr:first-child", "tool_not_allowed")
    await console.click("Story of notes.write, tool_not_allowed")
    await console.see("#story .why", "may not use the tool notes.write")
    assert "Decided by\nallowlist" in await console.text("#story")
    assert "Nothing was sent to the tool." in await console.text("#story")
    await console.press("Escape", "ArrowDown", "ArrowDown", "Enter")
    await console.see("#story-title", "flaky: ok")
    tries = (await console.text("#story .tries tbody")).split("\n")
    assert [line.split("\t")[3] for line in tries if "status" in line] == ["status_503", "status_503", "status_200"]
    assert "Calls used" in await console.text("#story")
    await console.click("This agent's calls")
    await works.call("search.read", "research-agent", "r-1")
    await works.call("search.read", "billing-agent", "invoice-8")
    await console.see("#calls-rows tr:first-child", "invoice-8")
    assert "research-agent" not in await console.text("#calls-rows")


async def test_writes_are_killed_and_restored_with_the_keyboard_alone(works: Plant, console: Page) -> None:
    assert await works.call("notes.write") == (201, "ok")
    await console.see("#run-list", "ticket-1")
    await console.press("k")
    await console.see("#blast", "Stops every call of a tool that writes")
    await console.see("#blast", "1 run in progress, 0 calls in flight.")
    await console.press("Enter")  # without a reason the browser lets nothing go
    await console.see("#kill-dialog[open] #kill-reason:focus")  # and says what it wants
    await console("type", "Refunds are posted twice")
    await console.press("Enter")
    await console.see("#banner", "Killed: writes")
    await console.see("#said", "Killed writes")
    assert await works.call("notes.write") == (403, "kill_switch")
    assert await works.call("search.read") == (200, "ok")
    await console.see("#calls-rows tr", "kill_switch")
    await console.click("Restore writes")
    await console.see("#sure-text", "Refunds are posted twice")
    await console.press("Enter")
    await console.see("#switch-list", "None is on.")
    assert await works.call("notes.write") == (201, "ok")


async def test_one_agent_is_killed_for_a_while_from_where_its_calls_are_seen(works: Plant, console: Page) -> None:
    for _ in range(3):
        await works.call("shell.run", "billing-agent", "invoice-7")
    await console.see("#agent-list tr", "3 (100 %)")
    await console.click("Kill agent billing-agent")
    await console.fill("Reason", "asks for a shell", "#kill-dialog")
    await console("choose", "combobox", "Until", "900", "#kill-dialog")
    await console.click("Also cut calls", "#kill-dialog", role="checkbox")
    await console.click("Kill agent:billing-agent", "#kill-dialog")
    await console.see("#switch-list .switch", "cut calls in flight")
    switches = (await works.operator.get("/v1/kill-switches"))["kill_switches"]
    assert isinstance(switches, list)
    [switch] = switches
    assert (switch["scope"], switch["who"], switch["cancel_in_flight"]) == ("agent:billing-agent", "console", True)
    assert switch["until"] is not None
    assert await works.call("search.read", "billing-agent", "invoice-8") == (403, "agent_disabled")
    assert await works.call("search.read") == (200, "ok")


async def test_a_run_is_stopped_for_good(works: Plant, console: Page) -> None:
    await works.call("search.read", run="ticket-7")
    await console.click("Stop run ticket-7")
    await console.see("#sure-text", "cannot be lifted. It has 39 calls left.")
    await console.fill("Reason", "goes in circles", "#sure-dialog")
    await console.fill("Your name", "ana", "#sure-dialog")
    await console.click("Stop this run")
    await console.see("#run-list", "kill_switch")
    [operated] = works.operator.seen.of("operated")
    assert (operated["who"], operated["reason"]) == ("ana", "goes in circles")
    assert await works.call("search.read", run="ticket-7") == (403, "kill_switch")


async def test_a_refused_kill_and_a_held_switch_say_why(works: Plant, console: Page) -> None:
    policy = works.operator.policy / "kill_switch.yaml"
    policy.write_text("disable_tools: [echo]\nreason: broken\n")
    await works.operator.post("/v1/policy/reload")
    await console.see("#switch-list", "held by kill_switch.yaml")
    await console.press("k", "ArrowDown", "Tab")
    await console("type", "no agent")
    await console.see("#blast", "scope agent:ID takes an agent id")
    await console.fill("Reason", "x", "#kill-dialog")
    await console.press("Enter")
    await console.see("#kill-problem", "scope agent:ID takes an agent id")


async def test_policy_candidate_upstreams_and_tools_are_shown(works: Plant, console: Page) -> None:
    for _ in range(4):
        await works.call("search.read")
    version = works.operator.gateway.policies.snapshot.version
    await console.see("#facts", version)
    await console.see("#policy-text", "tools.definitions.search.read.rate")
    await console.see("#policy-text", "10 % of the runs live under it")
    await console.see("#upstream-list", "crm")
    await console.see("#charts h3", "search.read")
    assert await console("number", "#charts canvas") == 2
    await console.see("#run-list [role=meter][aria-label=Calls][aria-valuenow='4'][aria-valuemax='40']")


async def test_a_filter_that_fits_nothing_and_one_that_is_none_say_so(works: Plant, console: Page) -> None:
    await works.call("search.read")
    await console.see("#calls-rows tr", "search.read")
    await console.press("/")
    await console("type", "notes.*")
    await console.see("#calls-empty", "No call that is kept fits.")
    await console("type", "*")
    await console.see("#filter-tool[aria-invalid=true]")
    await console.click("Clear")
    await console.see("#calls-rows tr", "search.read")


async def test_what_waits_while_it_is_paused_is_shown_after(works: Plant, console: Page) -> None:
    await console.press("p")
    await works.call("search.read")
    await console.see("#calls-note", "paused, 1 call since")
    assert await console("number", "#calls-rows tr") == 0
    await console.press("p")
    await console.see("#calls-rows tr", "search.read")


async def test_markup_stays_text_wherever_it_comes_from(works: Plant, console: Page) -> None:
    await works.operator.post("/v1/kill-switches", {"scope": "tool:echo", "reason": MARKUP, "who": MARKUP})
    await works.call("echo")
    await console.see("#banner", MARKUP)
    await console.see("#switch-list", MARKUP)
    await console.click("Story of echo, kill_switch")
    await console.see("#story .why", MARKUP)
    await console.press("Escape")
    names = dict.fromkeys(("call_id", "tool", "agent_id", "run_id", "upstream", "detail", "rule"), MARKUP)
    works.operator.gateway.recent.call_ended(record(at=clock(), **names))  # though no door lets such names in
    await console.see("#calls-rows tr:first-child", MARKUP)
    await console.see("#agent-list", MARKUP)
    await console.see("#charts", MARKUP)
    await console.click(f"Story of {MARKUP}, ok")
    await console.see("#story-title", MARKUP)
    assert await console("number", "b, img, main script, dialog script") == 0


async def test_a_name_cannot_be_read_as_another_one(works: Plant, console: Page) -> None:
    works.operator.gateway.recent.call_ended(record(at=clock(), tool="wiki.\u202edaer.hcraes", run_id="a\u200bb"))
    await console.see("#calls-rows tr", "wiki.\\u202edaer.hcraes")
    await console.see("#calls-rows tr", "a\\u200bb")
    await console.see("#charts h3", "wiki.\\u202edaer.hcraes")


async def test_what_an_anonymous_window_has_left_is_not_told_as_used(works: Plant, console: Page) -> None:
    await works.operator.call("/tools/search.read", 403)
    await console.click("Story of search.read, tool_not_allowed")
    await console.see("#story dt", "Calls left")
    assert "used" not in await console.text("#story")


async def test_by_day_and_by_night_it_can_be_read(works: Plant, console: Page) -> None:
    await works.call("search.read")
    await console.see("#charts canvas")
    seen = []
    for scheme in ("light", "dark"):
        await console("media", scheme)
        colours = "['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])"
        seen.append(await console("run", colours))
        assert contrast(*seen[-1]) > 10
    assert seen[0] != seen[1]
    await console.see("#charts canvas")


def contrast(one: str, other: str) -> float:
    """Of two `rgb(…)`, as WCAG counts it."""
    lights = sorted(luminance(colour) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


async def test_another_token_is_asked_for_when_this_one_is_taken_back(works: Plant, console: Page) -> None:
    works.operator.gateway.token._literal = "another"
    await console.see("#token-dialog", "This is not the admin token")


async def test_it_goes_on_where_it_was_when_the_connection_breaks(works: Plant, console: Page) -> None:
    await works.call("search.read", run="before")
    await console.see("#calls-rows tr", "before")
    admin = works.operator.gateway._admin
    assert admin is not None
    for connection in admin.connections:
        connection.force_close()
    await works.call("search.read", run="meanwhile")
    await console.see("#calls-rows tr", "meanwhile")
    await console.see("#state", "serving")
    assert await console("number", "#calls-rows tr") == 2


async def test_a_gateway_that_did_not_answer_at_first_is_followed_once_it_does(works: Plant, console: Page) -> None:
    await works.call("search.read", run="before")
    await console(
        "run",
        "const real = fetch; window.back = () => { fetch = real; };"
        " fetch = (path, ...more) => path.startsWith('/v1/calls') ? Promise.reject(new TypeError()) : real(path, ...more);",
    )
    await console.press("/")
    await console("type", "search.*")
    await console.see("#calls-note", "The gateway does not answer.")
    await console("run", "back()")
    await console.see("#calls-rows tr", "before")
    await works.call("search.read", run="after")
    await console.see("#calls-rows tr", "after")
    assert await console.text("#calls-note") == ""
