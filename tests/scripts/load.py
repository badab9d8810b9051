"""Visitors at once: ``python tests/scripts/load.py [--seconds 120]`` drives the app with 1, 5 and 20 of them, prints a
table.

Every visitor is a ``gradio_client`` with texts and seeds of its own that mixes bundled results, attention, scans and
patches on ``mini-2l``; its results are held against those computed alone in this process. Meanwhile a browser clicks
heads of the bundled scan. Exit code 1 where an answer is wrong, an error is not in words, clicks take a second or
more at the median, or memory grows by more than a tenth after warming up.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

import numpy as np
from gradio_client import Client
from playwright.sync_api import sync_playwright
from running import app_process

from induction.ui import api, jobs

VISITORS = (1, 5, 20)
VARIANTS = 60  # different requests of each kind: more than the app keeps, so that most are computed anew
TOLERANCE = 1e-4


def requests() -> dict[str, list[dict[str, Any]]]:
    """What visitors ask for, by endpoint."""
    texts = [f"the {i} saw the cat and the {i} saw the" for i in range(VARIANTS)]
    return {
        "/models": [{}],
        "/scan": [{"n_prompts": 4, "length": 30, "seed": seed} for seed in range(VARIANTS)],
        "/attention": [{"text": text, "head": f"1.{i % 8}"} for i, text in enumerate(texts)],
        "/patch": [{"n_pairs": 4, "seed": seed} for seed in range(VARIANTS)],
    }


def alone(endpoint: str, arguments: dict[str, Any]) -> Any:
    """The same, computed in this process."""
    answer = getattr(api, endpoint[1:])(**arguments)
    return answer if isinstance(answer, list | dict) else list(answer)[-1]


def differs(sent: Any, expected: Any) -> bool:
    """Whether two documents differ by more than rounding; durations do not count."""
    if isinstance(expected, dict):
        names = expected.keys() - {"seconds"}
        return not isinstance(sent, dict) or any(differs(sent.get(name), expected[name]) for name in names)
    if isinstance(expected, list):
        if not isinstance(sent, list) or len(sent) != len(expected):
            return True
        return any(differs(one, other) for one, other in zip(sent, expected, strict=True))
    if isinstance(expected, float):
        return not isinstance(sent, int | float) or not np.isclose(
            sent, expected, rtol=TOLERANCE, atol=TOLERANCE
        )
    return sent != expected


class Tally:
    """What the visitors met."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.wrong: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()


def visitor(url: str, seed: int, until: float, expected: dict[str, list[tuple]], tally: Tally) -> None:
    client = Client(url, verbose=False)
    rng = random.Random(seed)
    while time.monotonic() < until:
        endpoint = rng.choice(list(expected))
        arguments, right = rng.choice(expected[endpoint])
        started = time.monotonic()
        try:
            sent = client.predict(**arguments, api_name=endpoint)
        except Exception as error:
            tally.errors[str(error)[:120]] += 1
            continue
        tally.seconds[endpoint].append(time.monotonic() - started)
        if differs(sent, right):
            tally.wrong[endpoint] += 1
        time.sleep(rng.random() * 0.5)


def clicks(url: str, until: float, seconds: list[float]) -> None:
    """Click heads of the bundled grid and time until the page names them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{url}?model=gpt2")
        page.wait_for_selector("#scan-grid [role=gridcell]")
        rng = random.Random(0)
        while time.monotonic() < until:
            layer, head = rng.randrange(12), rng.randrange(12)
            started = time.monotonic()
            page.locator(f"#scan-grid [data-l='{layer}'][data-h='{head}']").click()
            page.wait_for_function(
                "(head) => document.querySelector('#head-card')?.textContent.includes(head)",
                arg=f"{layer}.{head}",
            )
            seconds.append(time.monotonic() - started)
            page.wait_for_timeout(300)
        browser.close()


def megabytes(process: subprocess.Popen) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def full_queue(url: str) -> tuple[int, Counter[str]]:
    """More runs at once than may wait: how many came through, and what the others were told."""
    client = Client(url, verbose=False)
    submitted = [
        client.submit("mini-2l", n_prompts=64, length=100, seed=1000 + i, api_name="/scan")
        for i in range(jobs.QUEUE_LIMIT * 2)
    ]
    through, said = 0, Counter()
    for job in submitted:
        try:
            job.result()
            through += 1
        except Exception as error:
            said[str(error)] += 1
    return through, said


def level(url: str, process: subprocess.Popen, count: int, seconds: float, expected: dict) -> list[str]:
    """So many visitors for so long: prints their row, returns what was not as required."""
    tally, clicked, until = Tally(), [], time.monotonic() + seconds
    browser = threading.Thread(target=clicks, args=(url, until, clicked))
    browser.start()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda seed: visitor(url, seed, until, expected, tally), range(count)))
    browser.join()
    click = statistics.median(clicked)
    cells = [
        f"{count:8}  {sum(map(len, tally.seconds.values())):8}  {tally.wrong.total():5}  {tally.errors.total():6}",
        *(f"{statistics.median(tally.seconds[name] or [0]):{len(name) + 1}.2f}" for name in expected),
        f"{click:7.2f}  {megabytes(process):9.0f}",
    ]
    print("  ".join(cells), flush=True)
    for text, times in tally.errors.items():
        print(f"          {times} x {text}")
    failed = [text for text in tally.errors if "queue is full" not in text.lower()]
    if tally.wrong or click >= 1:
        failed.append(f"{count} visitors: wrong {dict(tally.wrong)}, a click takes {click:.2f} s")
    return failed


def warm_up(url: str, expected: dict) -> None:
    """Ask for everything once, as many visitors at a time as there will be: loads the model, fills the caches."""
    asked = [(endpoint, arguments) for endpoint, pairs in expected.items() for arguments, _ in pairs]

    def share(index: int) -> None:
        client = Client(url, verbose=False)
        for endpoint, arguments in asked[index :: max(VISITORS)]:
            client.predict(**arguments, api_name=endpoint)

    with ThreadPoolExecutor(max(VISITORS)) as pool:
        list(pool.map(share, range(max(VISITORS))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="for each number of visitors")
    seconds = parser.parse_args().seconds
    expected = {
        endpoint: [(arguments, alone(endpoint, arguments)) for arguments in asked]
        for endpoint, asked in requests().items()
    }
    failed = []
    with app_process() as (url, process):
        columns = "  ".join(f"{name[1:]} s" for name in expected)
        print(
            f"visitors  requests  wrong  errors  {columns}  click s  memory MB",
            flush=True,
        )
        warm_up(url, expected)
        warm = megabytes(process)
        for count in VISITORS:
            failed += level(url, process, count, seconds, expected)
        if megabytes(process) > warm * 1.1:
            failed.append(f"memory grew from {warm:.0f} to {megabytes(process):.0f} MB after warming up")
        through, said = full_queue(url)
        print(
            f"full queue: {through} of {jobs.QUEUE_LIMIT * 2} came through; the others were told: {dict(said)}"
        )
        if not said or any("full" not in text for text in said):
            failed.append("a full queue does not say so")
        if differs(Client(url, verbose=False).predict(api_name="/models"), expected["/models"][0][1]):
            failed.append("the page does not answer after the load")
    for sentence in failed:
        print(f"FAILED: {sentence}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
