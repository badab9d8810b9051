"""What is packaged: the Space's configuration, the workflows and their steps, sizes, and the README's claims."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running import ROOT

from induction.model import CATALOGUE, availability, resolve

README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = ROOT / ".github" / "workflows"
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
# https://huggingface.co/docs/hub/spaces-config-reference
FIELDS = {
    **dict.fromkeys(("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version"), str),
    **dict.fromkeys(("app_file", "header", "license", "short_description", "suggested_hardware"), str),
    **dict.fromkeys(("models", "tags", "preload_from_hub"), list),
    "fullWidth": bool,
}
TOOLS = Path(sys.executable).parent


def committed() -> dict[str, Path]:
    """Git's files, by name."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name: ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def requirements() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    return {re.sub(r"\[.*\]", "", name): version for name, version in (line.split("==") for line in wanted)}


@pytest.fixture(scope="module")
def front() -> dict:
    return yaml.safe_load(README.split("---")[1])


def test_the_spaces_configuration_has_documented_fields_only(front):
    assert {name: type(value) for name, value in front.items()} == FIELDS
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == requirements()["gradio"]
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert front["header"] in ("mini", "default")
    assert len(front["short_description"]) <= 60
    assert (ROOT / front["app_file"]).is_file()
    assert set(front["models"]) <= CATALOGUE.keys()


def test_gpt2_is_preloaded_under_the_name_that_the_page_looks_for(front, tmp_path, monkeypatch):
    """The files listed are all that loading needs, and once cached the page takes GPT-2 for cached."""
    [(name, files)] = [line.split(" ") for line in front["preload_from_hub"]]
    assert name == resolve("gpt2-small")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files.split(","))
    commit = "0" * 40
    folder = tmp_path / f"models--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    for file in files.split(","):
        (folder / "snapshots" / commit / file).write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert availability("gpt2") == "cached"


def test_no_file_is_too_large_for_a_space_without_lfs():
    assert max(path.stat().st_size for path in committed().values()) < 10e6


def test_nothing_but_what_belongs_there_lies_at_the_top():
    assert {name.split("/")[0] for name in committed()} <= {
        *("app.py", "induction", "tests", "requirements.txt", "README.md", ".github", "LICENSE", "notebooks"),
        *(".ci", "pyproject.toml", ".gitignore", ".gitattributes"),
    }


def test_no_file_names_a_package_registry_or_a_machine():
    hosts = [
        "pypi" + ".org",
        "download." + "pytorch",
        "files." + "pythonhosted",
        "/ho" + "me/",
        "/wo" + "rk/",
    ]
    for name, path in committed().items():
        if path.suffix not in (".safetensors", ".png"):
            text = path.read_text(encoding="utf-8")
            assert not [host for host in hosts if host in text], name


# -- workflows -----------------------------------------------------------------------------------------------


def step(workflow: str, name: str) -> str:
    """The shell lines of a named step."""
    jobs = yaml.safe_load((WORKFLOWS / workflow).read_text(encoding="utf-8"))["jobs"]
    steps = [one for job in jobs.values() for one in job["steps"] if "run" in one]
    return next(one["run"] for one in steps if one.get("name") == name)


def shell(lines: str, folder: Path, *, fake: Path | None = None, **environment: str):
    """Run a step as GitHub does, with the programs of ``fake`` before all others."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines]
    path = os.pathsep.join([*([str(fake)] if fake else []), str(TOOLS), os.environ["PATH"]])
    own = {**os.environ, "PATH": path, **environment}
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=120)


@pytest.fixture
def fake(tmp_path) -> Path:
    """A folder of programs that only write down how they were called."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("pip", "hf", "gh", "python"):
        called = f'echo "$# {name} $* token=$HF_TOKEN resource=$HF_OIDC_RESOURCE"'
        (folder / name).write_text(f"#!/bin/sh\n{called}\n")
        (folder / name).chmod(0o755)
    return folder


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path) -> Path:
    """A small clone with a remote of its own."""
    git(tmp_path, "init", "-q", "--bare", "--initial-branch=main", "remote")
    git(tmp_path, "clone", "-q", "remote", "clone")
    clone = tmp_path / "clone"
    (clone / "induction" / "results").mkdir(parents=True)
    (clone / "induction" / "results" / "gpt2.json").write_text("{}")
    (clone / "requirements.txt").write_text((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    git(clone, "add", "-A")
    git(clone, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    git(clone, "push", "-q", "origin", "HEAD:main")
    git(clone, "branch", "-M", "main")
    git(clone, "branch", "-q", "-u", "origin/main")
    return clone


def test_workflows_fit_githubs_schema():
    files = sorted(map(str, WORKFLOWS.glob("*.yml")))
    command = [str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert len(files) == 3
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.name)
def test_every_action_has_a_version_and_every_step_is_valid_shell(path):
    for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
        assert job["timeout-minutes"]
        for one in job["steps"]:
            assert re.search(r"@v\d|:\d+\.\d+", one["uses"]) if "uses" in one else one["run"]
            assert "${{" not in one.get("run", ""), "values reach the shell as variables, never as text"
            done = subprocess.run(["bash", "-n"], input=one.get("run", ""), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


def test_the_size_check_finds_a_large_file(repository):
    check = step("tests.yml", "No file over 10 MB")
    assert shell(check, repository).returncode == 0
    (repository / "large one.bin").write_bytes(bytes(11 * 1024 * 1024))
    git(repository, "add", "-A")
    found = shell(check, repository)
    assert found.returncode == 1
    assert "large one.bin" in found.stdout


def test_a_space_gets_the_cpu_index_and_no_test_tools(repository):
    prepare = step("sync-space.yml", "Requirements of a Space without a GPU")
    refused = shell(prepare, repository, TORCH_INDEX_URL="")
    assert refused.returncode == 1
    assert "Set the repository variable TORCH_INDEX_URL" in refused.stdout
    assert shell(prepare, repository, TORCH_INDEX_URL="https://wheels.example/cpu").returncode == 0
    written = (repository / "requirements.txt").read_text(encoding="utf-8")
    assert written.startswith("--extra-index-url https://wheels.example/cpu\n")
    assert f"torch=={requirements()['torch']}\n" in written
    assert "pytest" not in written
    assert "playwright" not in written


@pytest.mark.parametrize(
    ("token", "expected"), [("secret", "token=secret resource="), ("", "token= resource=spaces/a/b")]
)
def test_the_upload_names_the_space_and_how_it_signs_in(repository, fake, token, expected):
    upload = step("sync-space.yml", "Upload")
    done = shell(upload, repository, fake=fake, SPACE_ID="a/b", HF_TOKEN=token, COMMIT="abc")
    assert done.returncode == 0, done.stderr
    called = done.stdout.splitlines()
    assert f"huggingface_hub=={requirements()['huggingface_hub']}" in called[0]
    assert "hf upload a/b . . --repo-type space" in called[1]
    assert expected in called[1]
    known = subprocess.run([str(TOOLS / "hf"), "upload", "--help"], capture_output=True, text=True)
    for option in re.findall(r"--[a-z-]+", called[1]):
        assert option in known.stdout, option


def test_precomputed_results_are_committed_and_pushed_only_when_they_changed(repository, fake):
    commit = step("precompute.yml", "Commit")
    assert "Nothing changed." in shell(commit, repository).stdout
    (repository / "induction" / "results" / "gpt2.json").write_text('{"new": 1}')
    (repository / "elsewhere.txt").write_text("not a result")
    done = shell(commit, repository, fake=fake)
    assert done.returncode == 0, done.stderr
    assert "gh workflow run tests.yml" in done.stdout
    pushed = git(repository, "show", "--stat", "--format=%s", "origin/main")
    assert pushed.startswith("Precomputed results\n")
    assert "elsewhere" not in pushed


def test_the_compute_step_takes_several_models(repository, fake):
    done = shell(step("precompute.yml", "Compute"), repository, fake=fake, MODELS="gpt2 a/b")
    assert done.stdout.startswith("4 python -m induction.results.bundle gpt2 a/b ")
