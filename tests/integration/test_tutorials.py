"""The pages for newcomers, run from top to bottom in an empty directory: each command does what its page says, word for word.

Numbers are masked, and so is what depends on them and on the load of this machine: warnings about the numbers, and verdicts of times that were measured.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from scripts.tutorials import Command, GivenFile, masked, parts, run_page
from tests.conftest import ROOT
from tests.slurm_cluster import Cluster

pytestmark = pytest.mark.integration

EXAMPLES = {
    "first-hour": "first-hour",
    "gate-pull-requests": "pull-request",
    "multi-node": "two-machines",
    "training": "train",
    "slurm": "slurm",
}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def check(name: str, directory: Path, environment: dict[str, str] | None = None) -> None:
    ran = 0
    for step, printed, _ in run_page(page(name), directory, environment or {}):
        assert masked(printed) == masked(step.output), f"$ {step.command}\n{printed}"
        ran += 1
    assert ran == sum(isinstance(part, Command) for part in parts(page(name))) > 0


@pytest.mark.release
@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "slurm"])
def test_a_page_does_what_it_says(tmp_path: Path, name: str) -> None:
    check(name, tmp_path)


@pytest.mark.release
@pytest.mark.needs("Slurm")
def test_the_page_about_slurm_on_a_real_cluster(cluster: Cluster, tmp_path: Path) -> None:
    check("slurm", tmp_path, cluster.environment)


@pytest.mark.parametrize(("name", "example"), EXAMPLES.items())
def test_the_files_and_outputs_of_an_example_are_those_of_its_page(name: str, example: str) -> None:
    directory = ROOT / "examples" / example
    given = {part.name: part.text for part in parts(page(name)) if isinstance(part, GivenFile)}
    for path, text in given.items():
        assert (directory / path).read_text() == text
    shown = [part for part in parts((directory / "README.md").read_text()) if isinstance(part, Command)]
    assert shown
    assert [step for step in shown if step not in list(parts(page(name)))] == []


def test_the_workflow_of_the_page_gives_the_action_its_inputs() -> None:
    workflow = yaml.safe_load((ROOT / "examples" / "pull-request" / "workflow.yml").read_text())
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    (step,) = (one for one in workflow["jobs"]["benchmark"]["steps"] if one["uses"] == "./.dlbs")
    assert set(step["with"]) <= set(action["inputs"])
    assert (ROOT / "examples" / "pull-request" / step["with"]["plan"]).is_file()
    for name, one in action["inputs"].items():
        assert f"| `{name}` |" in page("gate-pull-requests")
        assert one.get("default", "") in page("gate-pull-requests")


@pytest.mark.release
def test_the_notebook_runs_and_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts.tutorials import executed

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    path = ROOT / "examples" / "notebook" / "first.ipynb"
    kernel = tmp_path / "share" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    work = tmp_path / "work"
    work.mkdir()
    made = executed(path, work)
    shown = json.loads(path.read_text())
    cells = [cell for cell in shown["cells"] if cell["cell_type"] == "code"]
    assert cells
    for cell, now in zip(cells, [one for one in made.cells if one.cell_type == "code"], strict=True):
        assert text_of(cell["outputs"])
        assert text_of(now.outputs) == text_of(cell["outputs"])


def text_of(outputs: list[dict[str, object]]) -> list[str]:
    """The words of a cell's outputs."""
    texts = []
    for one in outputs:
        data = one.get("data")
        text = one.get("text") if data is None else data.get("text/plain", "") if isinstance(data, dict) else ""
        texts.append("".join(text) if isinstance(text, list) else str(text))
    return masked("\n".join(texts))
