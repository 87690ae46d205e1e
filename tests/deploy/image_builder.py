"""Run as root in a mount namespace of its own: does what the Dockerfile says on copies of this machine's root, and keeps the result.

    python -m tests.deploy.image_builder FOLDER      FOLDER/image/root becomes the root file system; prints `built`, ends with its stdin
                                                     FOLDER/dist has the wheel

A base image is this machine's root as it stands, under an overlay: whatever is written goes to memory and is gone with the namespace.
Every RUN, COPY, ENV and WORKDIR is carried out as it is written there, so that this cannot drift from what an engine would do.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.deploy.dockerfile import BUILD, FINAL, ROOT, Stage

PYTHON = Path(sys.base_prefix) / "bin"
PATH = f"{PYTHON}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OF_THE_MACHINE = ("PIP_", "SSL_", "REQUESTS_", "http_", "https_", "HTTP_", "HTTPS_", "no_proxy", "NO_PROXY")
"""Begin the variables that say how packages are reached from here; an engine hands them on, too."""


def main(folder: Path) -> None:
    build, final = base_image(folder / "build"), base_image(folder / "image")
    carry_out(BUILD, build, {})
    shutil.copytree(inside(build, "/build/dist"), folder / "dist")
    carry_out(FINAL, final, {BUILD.name: build})
    run("mount", "-o", "remount,ro", str(final))
    os.write(1, b"built\n")
    sys.stdin.read()


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def base_image(folder: Path) -> Path:
    """With Python where everyone may run it."""
    folder.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", str(folder))
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    for each in (upper, work, root):
        each.mkdir()
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", str(root))
    for parent in (PYTHON, *PYTHON.parents):
        inside = root / parent.relative_to("/")
        inside.chmod(inside.stat().st_mode | 0o111)
    return root


def carry_out(stage: Stage, root: Path, others: dict[str, Path]) -> None:
    environment, folder = {"PATH": PATH, "HOME": "/root"}, "/"
    for keyword, rest in stage.instructions:
        if keyword == "ENV":
            words = (word.partition("=") for word in shlex.split(rest))
            environment |= {name: text.replace("$PATH", environment["PATH"]) for name, _, text in words}
        elif keyword == "WORKDIR":
            folder = rest
            inside(root, rest).mkdir(parents=True, exist_ok=True)
        elif keyword == "COPY":
            copy(rest.split(), root, folder, others)
        elif keyword == "RUN":
            within(root, folder, environment, rest)


def inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def copy(words: list[str], root: Path, folder: str, others: dict[str, Path]) -> None:
    """Of folders their content; of the repository only what .dockerignore lets through."""
    source = ROOT
    if words[0].startswith("--from="):
        source = others[words.pop(0).removeprefix("--from=")]
    *names, target = words
    to = inside(root, str(Path(folder, target)))
    for name in names:
        found = inside(source, name)
        if found.is_dir():
            shutil.copytree(found, to, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            into = to / found.name if target.endswith("/") else to
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, into)


def within(root: Path, folder: str, environment: dict[str, str], script: str) -> None:
    """As root, by a shell, with this machine's network."""
    known = environment | {name: text for name, text in os.environ.items() if name.startswith(OF_THE_MACHINE)}
    mounts = f"mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev && mount -t tmpfs tmpfs {root}/tmp"
    chroot = f"exec chroot {root} env -i -C {folder} {shlex.join(f'{name}={text}' for name, text in known.items())}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{mounts} && {chroot} sh -c {shlex.quote(script)}"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"RUN {script}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
