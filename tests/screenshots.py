"""Photograph the page: ``python tests/screenshots.py [FOLDER]`` (default ``screenshots``).

Every tab, light and dark, 1280 and 390 pixels wide, as ``<tab>-<theme>-<width>.png``. More views are added to
:data:`VIEWS` as they come: a name and the address that restores them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from conftest import running_app
from playwright.sync_api import Page, sync_playwright

VIEWS = {"compare": "?model=gpt2&compare=distilgpt2"}
WIDTHS = (1280, 390)


def photograph(page: Page, address: str, file: Path) -> None:
    page.goto(address)
    page.wait_for_selector("[role=tabpanel]")
    page.wait_for_load_state("networkidle")
    page.wait_for_function("!document.querySelector('.ih-status[data-state=running]')")
    page.screenshot(path=file, full_page=True)
    print(file)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with running_app() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.wait_for_selector("[role=tab]")
        ids = page.get_by_role("tab").evaluate_all("tabs => tabs.map(tab => tab.dataset.tabId)")
        views = {name: f"?tab={name}" for name in ids} | VIEWS
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            for theme in ("light", "dark"):
                for name, query in views.items():
                    file = folder / f"{name}-{theme}-{width}.png"
                    photograph(page, f"{url}{query}&__theme={theme}", file)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
