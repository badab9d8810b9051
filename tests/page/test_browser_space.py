"""The page as a Space serves it: a Space's environment without a hub, inside a frame of Hugging Face's origin."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from gradio_client import Client
from running import running_app

ROOT = Path(__file__).parents[2]
# What Hugging Face sets in the image of a Gradio Space.
SPACE = {
    "SYSTEM": "spaces",
    "SPACE_ID": "someone/induction-heads",
    "SPACE_AUTHOR_NAME": "someone",
    "SPACE_REPO_NAME": "induction-heads",
    "SPACE_HOST": "someone-induction-heads.hf.space",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "HF_HUB_OFFLINE": "1",
}
OUTSIDE = "https://huggingface.co/spaces/someone/induction-heads"


@pytest.fixture(scope="module")
def space_url():
    with running_app(**SPACE) as url:
        yield url


@pytest.mark.browser
def test_in_a_frame_of_another_origin_the_address_follows_and_the_parent_hears_it(browser, space_url):
    """The outer page is Hugging Face's, played by a route; the frame is the app with the outer page's query."""
    frame_page = f"""<iframe src="{space_url}?model=mini-2l&__theme=dark" width="1200" height="850"></iframe>
    <script>
    window.heard = []; addEventListener('message', (event) => heard.push([event.origin, event.data]));</script>"""
    context = browser.new_context(permissions=["local-network-access"])
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.route(OUTSIDE, lambda route: route.fulfill(body=frame_page, content_type="text/html"))
    page.goto(OUTSIDE)
    frame = next(frame for frame in page.frames if frame.url.startswith(space_url))
    frame.wait_for_selector("#scan-grid [role=gridcell]")
    frame.locator("#scan-grid [data-l='1'][data-h='2']").click()
    page.wait_for_function("heard.some(([, data]) => data.queryString?.includes('head=1.2'))")
    origin, data = page.evaluate("heard.filter(([, data]) => data.queryString).at(-1)")
    assert origin + "/" == space_url
    said = parse_qs(data["queryString"])
    assert said["model"] == ["mini-2l"]
    assert said["head"] == ["1.2"]
    assert not set(said) & {"__theme", "__sign"}, (
        "what Hugging Face adds to the frame is not part of the link"
    )
    inside = parse_qs(urlsplit(frame.url).query)
    assert inside["__theme"] == ["dark"]
    assert inside["head"] == ["1.2"]
    assert frame.input_value("#link textarea") == f"{OUTSIDE}?{data['queryString']}"
    assert problems == []
    context.close()


def test_the_endpoints_answer_on_a_space_and_other_models_are_refused(space_url):
    client = Client(space_url, verbose=False)
    listed = [model["name"] for model in client.predict(api_name="/models")]
    assert listed[:2] == ["mini-2l", "mini-1l"]
    assert client.predict("mini-1l", n_prompts=2, length=8, api_name="/scan")["model"] == "mini-1l"
    with pytest.raises(Exception, match="hosted page loads only"):
        client.predict("someone/other", api_name="/scan")


def test_on_zero_gpu_long_runs_are_borrowed_and_give_the_same(tmp_path):
    """A stand-in for ``spaces`` hands over arguments and steps pickled, and hides the words of exceptions."""
    (tmp_path / "spaces.py").write_text(
        "import pickle\n"
        "borrowed = []\n"
        "def GPU(duration):\n"
        "    def decorate(work):\n"
        "        borrowed.append(work.__name__)\n"
        "        def run(*arguments):\n"
        "            steps = work(*pickle.loads(pickle.dumps(arguments)))\n"
        "            while True:\n"
        "                try: step = next(steps)\n"
        "                except StopIteration: return\n"
        "                except Exception: raise RuntimeError('GPU task aborted') from None\n"
        "                yield pickle.loads(pickle.dumps(step))\n"
        "        return run\n"
        "    return decorate\n"
    )
    script = (
        "import json, pickle, sys\n"
        "import app, spaces\n"
        "from induction.base import InputError\n"
        "from induction.experiment import experiments\n"
        "from induction.ui import api, zero_gpu\n"
        "assert zero_gpu.DEVICE == 'cuda'\n"
        "zero_gpu.DEVICE = 'cpu'\n"
        "scan = list(api.endpoint(experiments()['scan'])('mini-2l', 2, 8))[-1]\n"
        "heads = list(api.patch('mini-2l', n_pairs=2))[-1]\n"
        "sets = list(api.patch('mini-2l', '1.7', n_pairs=2, n_random=2))[-1]\n"
        "try: list(api.patch('mini-2l', '7.7', n_pairs=2)); words = ''\n"
        "except InputError as error: words = str(error)\n"
        "pickle.dump((spaces.borrowed, scan, heads, sets, words), sys.stdout.buffer)\n"
    )
    environment = {
        **os.environ,
        "SPACES_ZERO_GPU": "true",
        "PYTHONPATH": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    borrowed, scan, heads, sets, words = pickle.loads(done.stdout)
    assert borrowed == ["_perform"]
    assert "7.7" in words

    from induction.experiment import experiments
    from induction.ui import api

    assert _numbers(scan) == _numbers(list(api.endpoint(experiments()["scan"])("mini-2l", 2, 8))[-1])
    assert _numbers(heads) == _numbers(list(api.patch("mini-2l", n_pairs=2))[-1])
    assert _numbers(sets) == _numbers(list(api.patch("mini-2l", "1.7", n_pairs=2, n_random=2))[-1])


def _numbers(document: dict) -> dict:
    """A result without how long it took."""
    return {name: value for name, value in document.items() if name != "seconds"}
