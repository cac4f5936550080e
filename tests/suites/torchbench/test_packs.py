"""Models that are packs, from installing what they need to measuring them; all share one environment, and the torch of dlbs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import BENCHMARKS, Bench, RunDlbs
from tests.suites.torchbench.made_models import MEASURED
from tests.suites.torchbench.test_importing import write

pytestmark = pytest.mark.integration


def shared(name: str) -> str:
    """The pack.yaml of a model that shares the environment of the others."""
    return f"{name}:\n  definition: .\n  install_group: models\n"


BACKEND = """
import zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{directory}/own-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("own_of_scripted.py", "")
        wheel.writestr("own-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n")
        wheel.writestr("own-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("own-1.dist-info/RECORD", "")
    return "own-1-py3-none-any.whl"
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the environment is that these models share."""
    return {"DLBS_BASE": str(tmp_path_factory.mktemp("base"))}


def test_install_scripts_of_the_suite_run_with_what_they_import(
    dlbs: RunDlbs, tmp_path: Path, base: dict[str, str]
) -> None:
    script = (
        "from utils.python_utils import get_pip_cmd, pip_install_requirements\n"
        "from utils import s3_utils\n"
        "import subprocess\n"
        "from torchbenchmark.util.framework.huggingface.patch_hf import cache_model, patch_transformers\n"
        "if __name__ == '__main__':\n"
        "    patch_transformers('here', 'model')\n    cache_model('model')\n    pip_install_requirements()\n"
        "    subprocess.check_call([*get_pip_cmd(), '--version'])\n"
        "    open('installed', 'w').close()\n"
    )
    directory = write(tmp_path / "packs" / "scripted", install_py=script, pack_yaml=shared("scripted"))
    (directory / "requirements.txt").write_text("./own\n")
    (directory / "own").mkdir()
    (directory / "own" / "pyproject.toml").write_text(
        "[project]\nname = 'own'\nversion = '1'\n[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    (directory / "own" / "backend.py").write_text(BACKEND)
    done = dlbs("pack", "install", "scripted", **base)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (directory / "installed").exists()
    assert dlbs("pack", "shell", "scripted", "python", "-c", "import own_of_scripted", **base).returncode == 0


def test_an_install_script_that_wants_data_names_them(dlbs: RunDlbs, tmp_path: Path, base: dict[str, str]) -> None:
    script = (
        "from utils import s3_utils\ns3_utils.checkout_s3_data('INPUT_TARBALLS', 'coco128.tar.gz', decompress=True)\n"
    )
    directory = write(tmp_path / "packs" / "seeing", install_py=script, pack_yaml=shared("seeing"))
    done = dlbs("pack", "install", "seeing", **base)
    assert done.returncode == 2
    assert "the data coco128.tar.gz are missing: download them from the suite's server to " in done.stderr
    assert "install.py failed with exit code 1" in done.stderr

    # Files of one model, unlike archives, lie in its directory.
    (directory / "install.py").write_text(
        "from utils import s3_utils\ns3_utils.checkout_s3_data('MODEL_PKLS', 'seeing/obs.pkl', decompress=False)\n"
    )
    done = dlbs("pack", "install", "seeing", **base)
    assert f"download them from the suite's server to {directory / 'obs.pkl'}" in done.stderr
    (directory / "obs.pkl").write_bytes(b"")
    done = dlbs("pack", "install", "seeing", **base)
    assert done.returncode == 0
    assert "new environment" not in done.stderr  # what other models have installed is still there


def test_a_model_is_installed_without_touching_torch(
    dlbs: RunDlbs, bench: Bench, tmp_path: Path, base: dict[str, str]
) -> None:
    """The way of adding a model: from the template to a checked and measured one, with a dependency of its own."""
    assert dlbs("pack", "new", "mymodel", "--template", "model").returncode == 0
    pack = tmp_path / "packs" / "mymodel"
    done = bench("run", str(pack), program=MEASURED / "__main__.py")
    assert done.returncode == 0, done.stderr
    said = [line.split()[0] for line in done.stdout.splitlines()]
    assert [word for word in said if word in {"train", "eval"}] == ["train", "eval"]
    (pack / "requirements.txt").write_text("six\n")
    (pack / "network.py").write_text("import six\n" + (pack / "network.py").read_text())
    here = ("-Pexp.framework=pack", "-Pexp.pack=mymodel", "-Pexp.docker=false", "-Pexp.gpus=", "-Pexp.num_batches=3")
    assert "mymodel is not installed" in dlbs("run", *here, **base).stderr
    done = dlbs("pack", "install", "mymodel", **base)
    assert done.returncode == 0, done.stderr
    assert dlbs("pack", "check", "mymodel", **base).returncode == 0
    found = "import six, importlib.util as u; print(u.find_spec('pytorch_benchmarks').origin)"
    origin = dlbs("pack", "shell", "mymodel", "python", "-c", found, **base).stdout
    assert origin == f"{BENCHMARKS / '__init__.py'}\n"
    done = dlbs("run", *here, **base)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(dlbs("parse", "logs").stdout)["data"]
    assert record["exp.replica_batch"] == 16

    # With --force the environment is recreated, even if nothing has changed.
    place = Path(base["DLBS_BASE"], "venv", "models")
    (place / "marker").touch()
    assert "models: up to date" in dlbs("pack", "install", "mymodel", **base).stderr
    assert (place / "marker").exists()
    done = dlbs("pack", "install", "mymodel", "--force", **base)
    assert done.returncode == 0, done.stderr
    assert not (place / "marker").exists()
    assert dlbs("pack", "shell", "mymodel", "python", "-c", "import six", **base).returncode == 0

    # A second torch would be measured from now on, so nothing in this environment counts as installed.
    (library,) = place.glob("lib/python*/site-packages")
    assert not (library / "torch").exists()
    (pack / "install.py").write_text(f"from pathlib import Path\nPath({str(library)!r}, 'torch').mkdir()\n")
    done = dlbs("pack", "install", "mymodel", **base)
    assert done.returncode == 2
    assert "mymodel installs torch, but must use the one that is already installed" in done.stderr
    assert not list(Path(base["DLBS_BASE"], "state").glob("models.install.json"))
