"""What goes wrong around the app: the hub, the disk, files, closed pages and restarts. Each leaves it usable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import models
import pytest
from fake_hub import hub
from playwright.sync_api import expect
from running import ROOT, app_process, open_settings, restored

from induction.cli import main

GRID = "#scan-grid [role=gridcell]"


# -- the hub -------------------------------------------------------------------------------------------------


def scan_gpt2(cache, url: str, code: int = 0) -> subprocess.CompletedProcess:
    own = {**os.environ, "HF_HOME": str(cache), "HF_ENDPOINT": url, "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN"):
        own.pop(name, None)
    command = [sys.executable, "-m", "induction", "scan", "gpt2-small", "--prompts", "2", "--length", "10"]
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=200)
    assert done.returncode == code, done.stderr
    return done


def test_a_download_that_dies_says_so_and_the_next_try_works(tmp_path):
    folder, cache = tmp_path / "gpt2", tmp_path / "cache"
    models.save_gpt2(folder, width=64)
    with hub("gpt2", folder) as served:
        served.dies_after = 20_000
        failed = scan_gpt2(cache, served.url, code=2)
        assert "The download of gpt2 broke off; try again" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert [line for line in failed.stderr.splitlines() if line.startswith("error: ")]

        served.dies_after = None
        assert "gpt2" in scan_gpt2(cache, served.url).stdout

        served.asked.clear()
        scan_gpt2(cache, served.url)
        assert served.asked == [], "what is in the cache needs no hub"

        for file in cache.rglob("tokenizer*"):
            file.unlink()
        scan_gpt2(cache, served.url)
        assert any("tokenizer.json" in asked for asked in served.asked), "what is missing is fetched"


@pytest.mark.browser
def test_the_page_downloads_with_progress_which_can_be_cancelled(browser, tmp_path):
    """A model that only the hub has is fetched by the run that needs it; a cancelled download leaves nothing behind."""
    folder, cache = tmp_path / "gpt2", tmp_path / "cache"
    models.save_gpt2(folder, width=512)  # 40 MB, of which the client fetches 10 at a time
    size = (folder / "model.safetensors").stat().st_size
    environment = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "0"}
    with (
        hub("gpt2", folder) as served,
        app_process(HF_ENDPOINT=served.url, **environment) as (url, _),
    ):
        served.bytes_per_second = size / 8
        page = browser.new_page()
        page.goto(f"{url}?model=gpt2")
        page.wait_for_selector(GRID)
        expect(page.locator("#needs")).to_contain_text("downloads 548 MB")
        open_settings(page, "scan")
        page.get_by_label("Prompts", exact=True).fill("2")
        page.locator("#run-scan").click()
        _cancel_the_download(page, "scan", cache)

        page.get_by_role("tab", name="Attention").click()
        expect(page.locator("#attention-view")).to_contain_text("not on this machine")
        page.locator("#run-attention").click()
        _cancel_the_download(page, "attention", cache)

        served.bytes_per_second = None
        page.locator("#run-attention").click()
        page.wait_for_selector("#attention-view [data-painted]", timeout=60_000)
        page.get_by_role("tab", name="Scan").click()
        page.locator("#run-scan").click()
        expect(page.locator("#scan-status")).to_contain_text("Done", timeout=60_000)
        expect(page.locator("#facts")).to_contain_text("Works offline.")
        page.close()


def _cancel_the_download(page, tab, cache):
    """Wait until the run of a tab tells how far its download is, cancel it, and see that nothing is left of it."""
    status = page.locator(f"#{tab}-status")
    expect(status).to_contain_text(re.compile(r"downloading gpt2: [1-9]\d* of \d+ MB"), timeout=60_000)
    page.locator(f"#cancel-{tab}").click()
    expect(status).to_contain_text("Cancelled")
    deadline = time.monotonic() + 20
    while parts := list(cache.rglob("*.incomplete")):
        assert time.monotonic() < deadline, parts
        page.wait_for_timeout(100)
    assert not list(cache.rglob("model.safetensors"))


# -- disk and files ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("option", ["--out", "--csv"])
def test_a_full_disk_is_named(option, capsys):
    assert main(["scan", "mini-1l", "--prompts", "2", option, "/dev/full"]) == 2
    said = capsys.readouterr()
    assert "No space left" in said.err
    assert "choose another place" in said.err


def test_a_model_whose_tokenizer_has_no_bos_works_throughout(tmp_path):
    """Scan, patching, circuit and attention, with the protocol saying that no BOS stood in front."""
    from induction.analysis import attention
    from induction.analysis.scanning import scan
    from induction.circuit import trace as circuits
    from induction.data_gen import pairs as prompt_pairs
    from induction.data_gen.sequences import repeated_batch
    from induction.model import load_model
    from induction.model.tokens import bos_id
    from induction.patching import heads as patching

    tokenizer = models.tokenizer(bos=False)
    bare = models.causal_lm("GPT2LMHeadModel", len(tokenizer), bos_token_id=None, **models.SMALL)
    model = load_model(models.save(bare, tmp_path, tokenizer))
    assert bos_id(model) is None
    batch = repeated_batch(model, n_prompts=2, length=8, vocab="letters", seed=0)
    assert not batch.has_bos
    measured = scan(model, n_prompts=2, length=8, vocab="letters")
    assert "without BOS" in measured.scores["induction"].protocol
    assert patching.patch_heads(model, prompt_pairs.pairs(model, 2, vocab="letters")).effects
    assert circuits.circuit(model, (1, 0), scan=measured, n_pairs=2, vocab="letters").receivers
    assert not attention.attend(model, batch.prompt(0).tolist()).has_bos


# -- pages ---------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_page_closed_in_mid_run_frees_the_model(visit, slow_model):
    page = visit()
    _start_long_scan(page, slow_model)
    page.close()
    other = visit("?model=mini-2l")
    other.locator("#run-scan").click()
    expect(other.locator("#scan-status")).to_contain_text("Done")
    # Had it run to its end, its result would be there at once.
    again = visit()
    _start_long_scan(again, slow_model)
    again.locator("#cancel-scan").click()
    expect(again.locator("#scan-status")).to_contain_text("Cancelled")


def _start_long_scan(page, model):
    """64 prompts, and wait until the first ones are measured."""
    box = page.get_by_label("Model", exact=True)
    box.fill(model)
    box.press("Enter")
    open_settings(page, "scan")
    page.get_by_label("Prompts", exact=True).fill("64")
    page.locator("#run-scan").click()
    measured = re.compile(r"prompts \d+ to \d+ of 64")
    expect(page.locator("#scan-status")).to_contain_text(measured, timeout=90_000)


@pytest.mark.browser
def test_two_tabs_of_one_visitor_do_not_disturb_each_other(visit):
    first = visit("?model=mini-2l&head=1.2")
    second = first.context.new_page()
    second.goto(first.url.replace("head=1.2", "head=0.3"))
    second.wait_for_selector(GRID)
    restored(second)
    second.locator("#scan-grid [data-l='1'][data-h='5']").click()
    second.wait_for_url("**head=1.5*")
    first.locator("#run-scan").click()
    expect(first.locator("#scan-status")).to_contain_text("Done")
    first.wait_for_url("**live=*")
    assert "head=1.2" in first.url
    assert "head=1.5" in second.url
    assert "live=" not in second.url


@pytest.mark.browser
def test_an_open_page_works_on_when_the_server_was_restarted(browser):
    context = browser.new_context()
    page = context.new_page()
    try:
        with app_process() as (url, _):
            page.goto(f"{url}?model=mini-2l")
            page.wait_for_selector(GRID)
            restored(page)
            page.locator("#scan-grid [data-l='1'][data-h='2']").click()
            page.wait_for_url("**head=1.2*")
        port = int(url.rsplit(":", 1)[1].strip("/"))
        page.locator("#scan-grid [data-l='1'][data-h='3']").click()  # nobody answers
        expect(page.locator("body")).to_contain_text("onnect")
        with app_process(port):
            page.reload()
            page.wait_for_selector(GRID)
            restored(page)
            assert "head=1.3" in page.url, "a head is selected in the browser, and its address restores it"
            page.locator("#scan-grid [data-l='1'][data-h='5']").click()
            page.wait_for_url("**head=1.5*")
            page.locator("#run-scan").click()
            expect(page.locator("#scan-status")).to_contain_text("Done", timeout=30_000)
    finally:
        context.close()
