"""Visitors at once: ``python tests/scripts/load.py [SECONDS]`` drives the app with 1, 5 and 20 of them, prints a table.

Every visitor is a ``gradio_client`` with texts and seeds of its own that mixes bundled results, attention, scans and
patches on ``mini-2l``; its results are held against those computed alone in this process. Meanwhile a browser clicks
heads of the bundled scan. Exit code 1 where an answer is wrong, an error is not in words, clicks take a second or
more at the median, memory grows by more than a tenth after warming up, or a full queue does not say so.
"""

from __future__ import annotations

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

from induction.experiment import experiments
from induction.ui import api, jobs

VISITORS = (1, 5, 20)
VARIANTS = range(60)  # of each request: more than the app keeps, so that most are computed anew
TOLERANCE = 1e-4
REQUESTS: dict[str, list[dict[str, Any]]] = {
    "/models": [{}],
    "/scan": [{"n_prompts": 4, "length": 30, "seed": seed} for seed in VARIANTS],
    "/attention": [{"text": f"the {i} saw the cat and the {i} saw", "head": f"1.{i % 8}"} for i in VARIANTS],
    "/patch": [{"n_pairs": 4, "seed": seed} for seed in VARIANTS],
}
Expected = dict[str, list[tuple[dict[str, Any], Any]]]  # endpoint -> arguments and answer


def alone(endpoint: str, arguments: dict[str, Any]) -> Any:
    """An answer computed in this process."""
    name = endpoint[1:]
    answer = (api.endpoint(experiments()[name]) if name in experiments() else getattr(api, name))(**arguments)
    return answer if isinstance(answer, list) else list(answer)[-1]


def same(sent: Any, expected: Any) -> bool:
    """Whether two documents agree but for rounding; durations do not count."""
    match expected:
        case dict():
            names = expected.keys() - {"seconds"}
            return isinstance(sent, dict) and all(same(sent.get(name), expected[name]) for name in names)
        case list():
            return isinstance(sent, list) and len(sent) == len(expected) and all(map(same, sent, expected))
        case float():
            return isinstance(sent, int | float) and np.isclose(
                sent, expected, rtol=TOLERANCE, atol=TOLERANCE
            )
    return sent == expected


class Tally:
    """What the visitors of one level met, and how long a click took."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.clicks: list[float] = []
        self.wrong: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()


def visitor(url: str, seed: int, until: float, expected: Expected, tally: Tally) -> None:
    client, rng = Client(url, verbose=False), random.Random(seed)
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
        tally.wrong[endpoint] += not same(sent, right)
        time.sleep(rng.random() * 0.5)


def click(url: str, until: float, tally: Tally) -> None:
    """Click heads of the bundled grid and time until the page names them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{url}?model=gpt2")
        page.wait_for_selector("#scan-grid [role=gridcell]")
        rng = random.Random(0)
        while time.monotonic() < until:
            layer, head = rng.randrange(12), rng.randrange(12)
            named = f"document.querySelector('#head-card')?.textContent.includes('{layer}.{head}')"
            started = time.monotonic()
            page.locator(f"#scan-grid [data-l='{layer}'][data-h='{head}']").click()
            page.wait_for_function(named)
            tally.clicks.append(time.monotonic() - started)
            page.wait_for_timeout(300)
        browser.close()


def megabytes(process: subprocess.Popen) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def level(url: str, process: subprocess.Popen, count: int, seconds: float, expected: Expected) -> list[str]:
    """So many visitors for so long: prints their row, returns what was not as required."""
    tally, until = Tally(), time.monotonic() + seconds
    browser = threading.Thread(target=click, args=(url, until, tally))
    browser.start()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda seed: visitor(url, seed, until, expected, tally), range(count)))
    browser.join()
    medians = [statistics.median(took or [0]) for took in (*map(tally.seconds.get, expected), tally.clicks)]
    counts = count, sum(map(len, tally.seconds.values())), tally.wrong.total(), tally.errors.total()
    cells = [*counts, *(f"{median:.2f}" for median in medians), f"{megabytes(process):.0f}"]
    print("".join(f"{cell:>13}" for cell in cells), flush=True)
    failed = [text for text in tally.errors if "queue is full" not in text.lower()]
    if tally.wrong.total() or medians[-1] >= 1:
        failed.append(f"{count} visitors: wrong {dict(tally.wrong)}, a click takes {medians[-1]:.2f} s")
    return failed


def warm_up(url: str, expected: Expected) -> None:
    """Ask for everything once, as many visitors at a time as there will be: loads the model, fills the caches."""
    asked = [(endpoint, arguments) for endpoint, pairs in expected.items() for arguments, _ in pairs]

    def share(index: int) -> None:
        client = Client(url, verbose=False)
        for endpoint, arguments in asked[index :: max(VISITORS)]:
            client.predict(**arguments, api_name=endpoint)

    with ThreadPoolExecutor(max(VISITORS)) as pool:
        list(pool.map(share, range(max(VISITORS))))


def full_queue(url: str) -> Counter[str]:
    """What more runs at once than may wait are told; nothing where they came through."""
    client, long = Client(url, verbose=False), {"n_prompts": 64, "length": 100, "api_name": "/scan"}
    runs = [client.submit("mini-2l", seed=1000 + i, **long) for i in range(jobs.QUEUE_LIMIT * 2)]
    return Counter(str(run.exception() or "") for run in runs)


def main(seconds: float = 120) -> int:
    expected = {name: [(one, alone(name, one)) for one in asked] for name, asked in REQUESTS.items()}
    with app_process() as (url, process):
        columns = ["visitors", "requests", "wrong", "errors", *(f"{name[1:]} s" for name in expected)]
        print("".join(f"{column:>13}" for column in [*columns, "click s", "memory MB"]), flush=True)
        warm_up(url, expected)
        warm = megabytes(process)
        failed = [text for count in VISITORS for text in level(url, process, count, seconds, expected)]
        if megabytes(process) > warm * 1.1:
            failed.append(f"memory grew from {warm:.0f} to {megabytes(process):.0f} MB after warming up")
        told = full_queue(url)
        print(f"full queue: {told.pop('', 0)} came through; the others were told: {dict(told)}")
        if not told or any("full" not in text for text in told):
            failed.append("a full queue does not say so")
        if not same(Client(url, verbose=False).predict(api_name="/models"), expected["/models"][0][1]):
            failed.append("the page does not answer after the load")
    print("\n".join(f"FAILED: {sentence}" for sentence in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
