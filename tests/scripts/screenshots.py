"""Photograph the page: ``python tests/scripts/screenshots.py [FOLDER]`` (default ``screenshots``), or ``--readme``.

Every tab, light and dark, 1280 and 390 pixels wide, as ``<tab>-<theme>-<width>.png``. With ``--readme`` the README's
pictures are made anew, in ``.github/pictures``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from playwright.sync_api import Page, sync_playwright
from running import ROOT, restored, running_app

COMPARED = "?model=gpt2&compare=distilgpt2"
Shot = tuple[str, str, int, int]  # name, view, width and height of the window
README: list[Shot] = [
    ("scan", "?model=mini-2l&tab=scan&head=1.7", 1280, 960),
    ("attention", "?model=mini-2l&tab=attention&head=1.7", 1100, 1000),
    ("patching", "?model=mini-2l&tab=patching&head=0.2", 1100, 1300),
    ("circuit", "?model=mini-2l&tab=circuit&head=1.7", 1100, 1300),
    ("training", "?model=mini-2l&tab=training", 1100, 1000),
]


def settled(page: Page, address: str) -> None:
    """Open a view and wait until all of it is drawn."""
    page.goto(address)
    page.wait_for_selector("[role=tabpanel]:visible")
    page.wait_for_load_state("networkidle")
    restored(page)
    page.wait_for_function(
        "!document.querySelector('.ih-status:is([data-state=running], [data-state=waiting])')"
    )
    if "tab=attention" in address:
        page.wait_for_selector("#attention-view [data-painted]")
    for top in [*range(0, page.evaluate("document.body.scrollHeight"), 600), 0]:  # charts are drawn when near
        page.evaluate("top => window.scrollTo(0, top)", top)
        page.wait_for_timeout(150)
    drawn = """[...document.querySelectorAll('.ih-plot')].every((plot) =>
      !plot.offsetParent || plot.firstChild || plot.getBoundingClientRect().left >= innerWidth)"""  # not swiped to
    page.wait_for_function(drawn)
    page.wait_for_load_state("networkidle")
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")


def every_view(page: Page, url: str) -> Iterator[Shot]:
    page.goto(url)
    page.wait_for_selector("[role=tab]")
    ids = page.get_by_role("tab").evaluate_all("tabs => tabs.map(tab => tab.dataset.tabId)")
    views = {name: f"?tab={name}" for name in ids} | {"compare": COMPARED}
    for width, theme, (name, query) in product((1280, 390), ("light", "dark"), views.items()):
        yield f"{name}-{theme}-{width}", f"{query}&__theme={theme}", width, 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("screenshots"))
    parser.add_argument("--readme", action="store_true")
    options = parser.parse_args()
    folder = ROOT / ".github" / "pictures" if options.readme else options.folder
    folder.mkdir(parents=True, exist_ok=True)
    with running_app() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        shots = [(name, f"{query}&__theme=light", *size) for name, query, *size in README]
        for name, query, width, height in shots if options.readme else list(every_view(page, url)):
            page.set_viewport_size({"width": width, "height": height})
            settled(page, url + query)
            page.screenshot(path=folder / f"{name}.png", full_page=not options.readme)
            print(folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
