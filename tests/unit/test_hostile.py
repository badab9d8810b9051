"""What strangers send: a few hundred cases of every property of hostile.py, and what the server hands out."""

from __future__ import annotations

import ast
import http.client
from urllib.parse import urlsplit

import hostile
import pytest
from running import ROOT

PACKAGE = sorted((ROOT / "induction").rglob("*.py"))


@pytest.mark.parametrize("name", hostile.PROPERTIES)
def test_properties(name):
    hostile.run(name, 200)


def test_nothing_is_deserialised_but_safetensors_and_json():
    """No pickle, no eval, no code of others: neither imported nor called anywhere in the package."""
    modules = {"pickle", "marshal", "shelve", "dill", "joblib", "yaml"}
    calls = {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "np.load", "os.system"}
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not modules & {name.split(".")[0] for name in names}, path.name
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in calls, f"{path.name}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant), f"{path.name}:{node.lineno}"
                assert node.value.value is False, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=app.py",
        "/gradio_api/file=induction/results/mini-2l.json",
        "/gradio_api/file=induction/weights/mini-2l/model.safetensors",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/file=app.py",
        "/static/../app.py",
        "/static/%2e%2e/%2e%2e/app.py",
        "/assets/..%2f..%2fapp.py",
        "/.git/config",
        "/requirements.txt",
    ],
)
def test_no_file_of_the_machine_is_served(app_url, path):
    address = urlsplit(app_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    connection.request("GET", path)  # http.client sends the path as it stands, dots and all
    answer = connection.getresponse()
    assert answer.status in (400, 403, 404, 405), answer.status
    assert b"import" not in answer.read()
    connection.close()
