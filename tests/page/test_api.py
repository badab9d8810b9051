"""The named endpoints, called as a stranger's program calls them, against the library's own results."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from running import running_app

from induction.analysis.attention import attend
from induction.analysis.result import Scan
from induction.analysis.scanning import scan
from induction.data_gen.pairs import pairs
from induction.experiment import experiments
from induction.model import CATALOGUE, load_model
from induction.model.tokens import encode
from induction.patching.heads import patch_heads, patch_set
from induction.results import SCANS
from induction.ui import app

ENDPOINTS = {"models", "patch", *experiments()}


@pytest.fixture(scope="module")
def client(app_url):
    return Client(app_url, verbose=False)


def test_every_experiment_is_an_endpoint_documented_by_its_settings(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {f"/{name}" for name in ENDPOINTS}
    public = [fn.api_name for fn in app.build().fns.values() if fn.api_visibility != "private"]
    assert sorted(public) == sorted(ENDPOINTS)
    for name, endpoint in endpoints.items():
        assert endpoint["description"]
        assert all(parameter["parameter_has_default"] for parameter in endpoint["parameters"])
        if name[1:] in experiments():
            names = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
            assert names[: 1 + len(fields := experiments()[name[1:]].settings.model_fields)] == [
                "model",
                *fields,
            ]


def test_models(client):
    listed = {model["name"]: model for model in client.predict(api_name="/models")}
    assert listed.keys() >= CATALOGUE.keys()
    assert listed["mini-2l"] | {"n_layers": 2, "n_heads": 8, "weights": "bundled"} == listed["mini-2l"]
    assert listed["gpt2"]["bundled_scan"] in ("published", "computed")


def test_a_scan_is_the_librarys(client):
    job = client.submit("mini-2l", n_prompts=3, length=12, seed=5, api_name="/scan")
    sent = job.result()
    expected = scan(load_model("mini-2l"), n_prompts=3, length=12, seed=5)
    assert sent["seed"] == 5
    np.testing.assert_allclose(
        sent["scores"]["induction"]["mean"], expected.scores["induction"].mean, atol=1e-4
    )
    assert job.outputs()[0].keys() == {"done", "total", "label"}
    assert Scan.from_json(json.dumps(sent)).ranked()[0][:2] == expected.ranked()[0][:2]


def test_a_bundled_scan_needs_no_run(client):
    sent = client.predict("gpt2-small", live=False, api_name="/scan")
    assert sent == json.loads(SCANS.get("gpt2").to_json())


def test_attention_is_the_librarys(client):
    text = "one two three one two"
    sent = client.predict("mini-2l", text, "1.7", api_name="/attention")
    model = load_model("mini-2l")
    seen = attend(model, encode(model, text))
    np.testing.assert_allclose(sent["attention"], seen.patterns[1, 7], atol=1e-4)
    assert sent["tokens"] == list(seen.labels)


def test_patching_is_the_librarys(client):
    model = load_model("mini-2l")
    prompts = pairs(model, 3, seed=2)
    every = client.predict("mini-2l", n_pairs=3, seed=2, api_name="/patch")
    expected = patch_heads(model, prompts, seed=2)
    np.testing.assert_allclose(
        every["effects"]["logit_difference"]["mean"], expected.effects["logit_difference"].mean, atol=1e-4
    )
    together = client.predict("mini-2l", "1.7,1.6", n_pairs=3, seed=2, n_random=4, api_name="/patch")
    expected = patch_set(model, prompts, [(1, 7), (1, 6)], n_random=4, seed=2)
    sent, own = (
        together["sets"][0]["measures"]["logit_difference"],
        expected.sets[0].measures["logit_difference"],
    )
    assert sent["effect"] == pytest.approx(own.effect, abs=1e-4)
    assert sent["random"] == pytest.approx(own.random, abs=1e-4)


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/scan", {"model": "no/such/model at all"}, "no/such/model"),
        ("/scan", {"n_prompts": 65}, "at most 64"),
        ("/scan", {"n_prompts": "many"}, "whole number"),
        ("/scan", {"length": 10.5}, "whole number"),
        ("/scan", {"vocab": "klingon"}, "token set"),
        ("/scan", {"model": "EleutherAI/pythia-160m", "live": False}, "bundled"),
        ("/attention", {"prompt": "ab-1-klingon-2"}, "written|write"),
        ("/attention", {"text": "word " * 400}, "shorten"),
        ("/attention", {"text": "a b", "head": "9.9"}, "0.0|layer"),
        ("/attention", {"text": "a b", "head": "1.1,1.2"}, "one head"),
        ("/attention", {"text": "a b", "head": "<img src=x>"}, "layer.head"),
        ("/heads", {"method": "guess"}, "method"),
        ("/together", {"top_k": 21}, "at most 20"),
        ("/together", {"heads": ",".join(f"1.{head}" for head in range(65))}, "at most 64 heads"),
        ("/ablation", {"heads": "9.9"}, "9.9"),
        ("/circuit", {"head": "x"}, "layer.head"),
        ("/training", {"model": "gpt2"}, "training history"),
        ("/patch", {"clean": "a b c", "corrupted": "a"}, "tokens"),
        ("/patch", {"heads": "7.0"}, "7.0"),
        ("/patch", {"direction": "sideways"}, "direction"),
        ("/patch", {"heads": "1.7", "n_random": -1}, "Random sets"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(client, endpoint, arguments, message):
    with pytest.raises(AppError, match=message) as refused:
        client.predict(**arguments, api_name=endpoint)
    assert "Traceback" not in str(refused.value)


def test_the_endpoints_are_mcp_tools_when_gradios_switch_is_on():
    async def call(url: str):
        async with (
            streamable_http_client(f"{url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            refused = await session.call_tool("scan", {"n_prompts": 99})
            return tools, await session.call_tool("scan", {"n_prompts": 2, "length": 8}), refused

    with running_app(GRADIO_MCP_SERVER="True") as url:
        tools, result, refused = asyncio.run(call(url))
    assert set(tools) == ENDPOINTS
    assert tools["scan"].inputSchema["properties"]["length"]["description"]
    assert f"'schema': '{Scan.SCHEMA}'" in result.content[0].text
    assert refused.isError
    assert refused.content[0].text == "Prompts: at most 64 here, not 99."
