"""A fresh machine: ``python tests/scripts/fresh.py`` clones, runs the README's two commands and prints what they took.

The clone holds what is committed, the virtual environments start empty. ``--no-tests`` leaves the second command out.
``--space`` starts the app as a Space does: from the requirements without test tools, in a Space's environment.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support")]

from running import ROOT, free_port

SPACE = {"SYSTEM": "spaces", "SPACE_ID": "someone/induction-heads", "HF_HUB_OFFLINE": "1"}


def commands() -> tuple[str, str]:
    """The README's two commands: one starts the app, one passes the tests."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    app, tests = re.findall(r"^    (python3 -m venv .*)$", readme, re.M)
    return app, tests


def folder_size(path: Path) -> float:
    """In MB."""
    files = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files) / 1e6


def start_app(clone: Path, command: str, environment: dict[str, str]) -> dict[str, str]:
    """Run the first command until the page answers; what installing, starting and answering took."""
    install, start = command.rsplit(" && ", 1)
    began = time.monotonic()
    subprocess.run(install, shell=True, cwd=clone, check=True)
    installed = time.monotonic()
    port = free_port()
    own = {**os.environ, **environment, "GRADIO_SERVER_PORT": str(port)}
    process = subprocess.Popen(
        start, shell=True, cwd=clone, env=own, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while True:
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() - installed > 300:
                    raise RuntimeError("the app did not start") from None
                time.sleep(0.1)
        answered = time.monotonic()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    if b"Induction Head Explorer" not in page:
        raise RuntimeError("the page is not the app's")
    return {
        "install": f"{installed - began:.0f} s",
        "installed": f"{folder_size(clone / '.venv'):,.0f} MB",
        "start until the page answers": f"{answered - installed:.1f} s",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--space", action="store_true")
    options = parser.parse_args()
    app, tests = commands()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        print(f"{'clone':32}{folder_size(clone):,.0f} MB with its history", flush=True)
        if options.space:
            requirements = clone / "requirements.txt"
            kept = requirements.read_text(encoding="utf-8").partition("# For tests")[0]
            requirements.write_text(kept, encoding="utf-8")
        for what, took in start_app(clone, app, SPACE if options.space else {}).items():
            print(f"{what:32}{took}", flush=True)
        if options.no_tests or options.space:
            return 0
        began = time.monotonic()
        done = subprocess.run(tests, shell=True, cwd=clone)
        took = time.monotonic() - began
        print(f"{'tests, installing included':32}{took:.0f} s, exit code {done.returncode}")
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
