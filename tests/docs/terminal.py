"""A shell in which the lines of a page are pasted, as a reader would; its ports are free ones."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.deploy.stack import ask, clean_environment, free_address

DONE = "-- done --"


class Terminal:
    """A shell in an empty folder, with the page's ports replaced by free ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.admin, self.tools = free_address(), free_address(), free_address()
        commands = folder.parent / "bin"
        commands.mkdir()
        command = commands / "tool-gateway"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
        command.chmod(0o755)
        settings = {"GATEWAY_LISTEN": str(self.data), "GATEWAY_ADMIN_LISTEN": str(self.admin)}
        (commands / ".curlrc").write_text('write-out = "\\n"\n')  # an answer a line
        environment = clean_environment(PATH=f"{commands}:{os.environ['PATH']}", CURL_HOME=str(commands), **settings)
        self.shell = subprocess.Popen(
            ["sh"],
            cwd=folder,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def paste(self, block: str) -> str:
        """What the terminal shows until the block is through."""
        ports = {"8080": self.data, "8081": self.admin, "9000": self.tools}
        for port, address in ports.items():
            block = block.replace(f"127.0.0.1:{port}", str(address))
        block = block.replace("tool-gateway demo &", f"tool-gateway demo --listen {self.tools} &")
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"{block}\necho; echo '{DONE}'\n")
        self.shell.stdin.flush()
        shown: list[str] = []
        for line in self.shell.stdout:
            if line.strip() == DONE:
                break
            shown.append(line)
        return "".join(shown)

    def has_tools(self) -> bool:
        """Does the toy tool server listen?"""
        try:
            ask(self.tools, "GET", "/")
        except OSError:
            return False
        return True

    def events(self) -> list[str]:
        """What gateway.log holds of them, in order."""
        log = self.folder / "gateway.log"
        return [json.loads(line)["event"] for line in log.read_text().splitlines()] if log.exists() else []

    def close(self) -> None:
        os.killpg(self.shell.pid, signal.SIGINT)
        self.shell.communicate(timeout=20)
