"""Links made before every experiment was declared once land where they landed then."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import expect
from running import address

pytestmark = pytest.mark.browser

MINI = {"model": "mini-2l", "head": "1.7"}
SCAN, HEADS, SETS, CIRCUIT = "#headline", "#patching-headline", "#sets-headline", "#circuit-headline"
# link, what the page's address has besides or instead, where something is said, what
LINKS = [
    ("tab=about", MINI, "#about", "What an induction head is"),
    ("model=gpt2&tab=scan&head=5.1", {}, SCAN, "11 heads above 0.4, led by 5.5 (0.93)"),
    ("model=gpt2&head=77.7", {"tab": "scan", "head": "5.5"}, "#notice", "layers 0..11 and heads 0..11"),
    ("model=gpt2&head=5.1&score=previous_token", {"tab": "scan"}, "#head-card", "Previous token"),
    ("model=gpt2&compare=distilgpt2", {"tab": "scan", "head": "5.5"}, "#compare-right", "0"),
    ("model=HuggingFaceTB/SmolLM2-135M-Instruct", {"tab": "scan", "head": "18.6"}, SCAN, "8 heads above 0.4"),
    ("model=mini-2l&live=3x20-random-1&head=1.2", {"tab": "scan", "live": "3-20-random-1"}, SCAN, "Measured live"),
    ("model=mini-2l&tab=attention&head=1.2&prompt=natural-2", {}, ".ia-title", "Head 1.2 of mini-2l"),
    ("model=mini-2l&tab=attention&head=1.7&prompt=ab-5-letters-42&hide_first=1", {}, ".ia-title", "Head 1.7"),
    ("model=mini-2l&tab=attention&prompt=own&text=one+two+one+two&row=3", {"head": "1.7"}, ".ia-text", "two"),
    ("model=mini-2l&tab=patching&head=0.2", {}, HEADS, "Bundled"),
    (
        "model=mini-2l&tab=patching&prompts=first_a&pairs=3&patch_seed=9&direction=noise&metric=probability",
        {"head": "1.7"}, HEADS, "clean 0.517, corrupted 7.67e-06. Largest effects: 0.2 (+1.00), 1.2 (+0.80)",
    ),
    (
        "model=mini-2l&tab=patching&prompts=first_a&pairs=2&together=patch&heads=1.7,1.6&random_sets=3",
        {"head": "1.7"}, SETS, "0.53 of the logit difference comes back",
    ),
    (
        "model=mini-2l&tab=patching&together=ablate&heads=0.2&ablation=zero&prompts=target&pairs=2&random_sets=2",
        {"head": "1.7"}, SETS, "from 0.01 to 11.16 nats, on the first from 14.50 to 12.50",
    ),
    ("model=mini-2l&tab=patching&k=3", {"head": "1.7"}, SETS, "With the first 3 heads patched, 0.81"),
    ("model=gpt2&tab=patching&component=v", {"head": "5.5"}, HEADS, "8.6 (+0.32), 8.10 (+0.27)"),
    ("model=mini-2l&tab=circuit&head=1.2&edge=0.2>1.2&through=q", {}, "#circuit-edge", "0.2"),
    (
        "model=mini-2l&tab=circuit&circuit=2-random-3-1.7&effect=answer",
        {"head": "1.7", "circuit": "2-random-3-1.7-frozen-denoise"}, CIRCUIT, "Measured live",
    ),
    (
        "model=mini-1l&tab=training&run=mini-1l&against=mini-2l&checkpoint=5",
        {"head": "0.3"}, "#checkpoint [role=status]", "Checkpoint 5 of",
    ),
    ("model=gpt2&tab=circuit&head=5.5", {}, CIRCUIT, "4.11 (previous-token head) composes most with 6.9"),
]  # fmt: skip


@pytest.mark.parametrize(("link", "changed", "where", "said"), LINKS, ids=[row[0] for row in LINKS])
def test_a_link_of_before_lands_where_it_landed(visit, link, changed, where, said):
    wanted = {"tab": "scan"} | dict(parse_qsl(link)) | changed
    page = visit(f"?{link}", ready=f"#tab-{wanted['tab']}")
    expect(page.locator(where).first).to_contain_text(said, timeout=60_000)
    selected = page.locator("[role=tab][aria-selected=true]").first
    expect(selected).to_have_text(wanted["tab"].capitalize())
    page.wait_for_function(
        "want => [...new URLSearchParams(location.search)].length === want", arg=len(wanted)
    )
    assert address(page) == wanted
