"""How soon the page answers: ``python tests/scripts/answers.py [TREE ...] [--rounds 5]``.

Each TREE (default: this one) is a checkout of the project. All are served at once and visited in turn, so that noise of
the machine falls on all alike. Printed are medians: layout shift, first result, a link painted, a click on a head.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "support")]

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from running import ROOT, app_process

DESKTOP, PHONE = (1280, 800), (390, 844)
SLOW = {  # 100 ms and 10 Mbit/s
    "offline": False,
    "latency": 100,
    "downloadThroughput": 10e6 / 8,
    "uploadThroughput": 10e6 / 8,
}
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Notes when the wanted part of a page is first seen, and what jumps on the way.
WATCH = """(() => {
  window.seen = {}; window.shifts = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
    if (!entry.hadRecentInput) window.shifts += entry.value;
  })).observe({ type: 'layout-shift', buffered: true });
  const visible = (one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const painted = (canvas) => {
    if (canvas.width < 60 || !visible(canvas)) return false;
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.some((value, at) => at > 3 && value !== pixels[at % 4]);
  };
  const query = new URLSearchParams(location.search);
  const [tab, heads] = [query.get('tab') || 'scan', query.get('model')?.includes('SmolLM2') ? 270 : 16];
  const parts = {  // of the tab and the model that the link names
    grid: () => [...document.querySelectorAll(`#tab-${tab} [role=gridcell]`)].filter(visible).length >= heads,
    picture: () => [...document.querySelectorAll('[role=tabpanel] canvas')].some(painted),
  };
  const look = () => {
    for (const [name, there] of Object.entries(parts)) {
      if (!(name in window.seen) && there()) window.seen[name] = performance.now();
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""
# A click on a head by its place: ms until the last change that it makes, requests, bytes that came.
CLICK = """async ([layer, head]) => {
  const cell = document.querySelector(`[role=tabpanel] [role=gridcell][data-l="${layer}"][data-h="${head}"]`);
  const before = performance.getEntriesByType('resource').length;
  let last = performance.now();
  const watcher = new MutationObserver(() => { last = performance.now(); });
  watcher.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  const start = performance.now();
  cell.click();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  watcher.disconnect();
  const asked = performance.getEntriesByType('resource').slice(before).filter((one) => one.initiatorType === 'fetch');
  return [last - start, asked.length, asked.reduce((sum, one) => sum + one.transferSize, 0) / 1000];
}"""


@contextmanager
def opened(browser: Browser, size: tuple[int, int]) -> Iterator[tuple[Page, CDPSession]]:
    """A page that nobody has visited before."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    page.add_init_script(WATCH)
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    yield page, network
    context.close()


def seen(page: Page, what: str) -> float:
    """Milliseconds from the start of the navigation."""
    page.wait_for_function("what => what in window.seen", arg=what, timeout=60_000)
    return page.evaluate("what => window.seen[what]", what)


def first(browser: Browser, url: str, size: tuple[int, int], slow: bool = False) -> dict[str, float]:
    came: list[float] = []
    with opened(browser, size) as (page, network):
        if slow:
            network.send("Network.emulateNetworkConditions", SLOW)
        network.on("Network.dataReceived", lambda told: came.append(told["encodedDataLength"]))
        page.goto(url)
        at = seen(page, "grid")
        until = sum(came) / 1000
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1500)
        shift = page.evaluate("window.shifts")
    where = "slow" if slow else "desktop" if size == DESKTOP else "phone"
    sent = {"slow, KB until then": until, "slow, KB in all": sum(came) / 1000} if slow else {}
    return {f"first result, {where}, ms": at, f"layout shift, {where}": shift, **sent}


def linked(browser: Browser, url: str, model: str, tab: str, what: str) -> dict[str, float]:
    with opened(browser, DESKTOP) as (page, _):
        page.goto(f"{url}?model={model}&tab={tab}")
        return {f"link to {tab} of {model.split('/')[-1]}, ms": seen(page, what)}


def clicked(browser: Browser, url: str, model: str) -> dict[str, float]:
    """The median of clicks on heads that were not looked at before."""
    with opened(browser, DESKTOP) as (page, _):
        page.goto(f"{url}?model={model}")
        seen(page, "grid")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(2500)
        numbers = [page.evaluate(CLICK, [layer, head]) for layer in (0, 1) for head in (3, 4, 6)]
    units = ("ms", "requests", "KB")
    name = model.split("/")[-1]
    return {
        f"head click, {name}, {unit}": median(column)
        for unit, column in zip(units, zip(*numbers, strict=True), strict=True)
    }


def measured(browser: Browser, url: str) -> dict[str, float]:
    """One round of everything."""
    found: dict[str, float] = {}
    for size in (DESKTOP, PHONE):
        found |= first(browser, url, size)
    found |= first(browser, url, DESKTOP, slow=True)
    for model in ("mini-2l", SMOLLM2):
        for tab, what in (("attention", "picture"), ("patching", "grid")):
            found |= linked(browser, url, model, tab, what)
    for model in ("mini-2l", "gpt2", SMOLLM2):
        found |= clicked(browser, url, model)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, default=[ROOT])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows: list[dict[str, list[Any]]] = [{} for _ in options.trees]
    with ExitStack() as stack:
        urls = [stack.enter_context(app_process(root=tree))[0] for tree in options.trees]
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for number in range(options.rounds + 1):
            for url, row in zip(urls, rows, strict=True):
                for name, value in measured(browser, url).items():
                    if number:  # the first round warms up servers and machine
                        row.setdefault(name, []).append(value)
    for name in rows[0]:
        print(f"{name:48}", *(f"{median(row[name]):10.3g}" for row in rows))


if __name__ == "__main__":
    main()
