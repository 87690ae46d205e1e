"""The scripts that the store runs, as text: what they may do there is what the guide has operators allow."""

import re
from pathlib import Path

from gateway.state.stores.valkey import claim_scripts, scripts

GUIDE = Path(__file__).parents[5] / "docs" / "fleet.md"


def test_the_guides_rights_name_every_command_of_the_scripts() -> None:
    used: set[str] = set()
    for module in (scripts, claim_scripts):
        text = "".join(value for value in vars(module).values() if isinstance(value, str))
        used |= {command.lower() for command in re.findall(r"redis\.call\('(\w+)'", text)}
    found = re.search(r"^ACL SETUSER gateway .*$", GUIDE.read_text(), re.MULTILINE)
    assert found is not None
    allowed = {right.removeprefix("+").partition("|")[0] for right in found[0].split() if right.startswith("+")}
    assert len(used) > 20
    assert used <= allowed
