"""Environments of packs: nothing is removed or overwritten that dlbs did not make."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlbs.packs import environments
from dlbs.packs.definition import find_pack
from dlbs.packs.environments import prepare
from tests.conftest import RunDlbs
from tests.packs.test_packs import write_pack


@pytest.mark.parametrize("flags", [(), ("--force",)])
@pytest.mark.parametrize("kind", ["directory", "link", "file"])
def test_what_dlbs_did_not_make_is_left_alone(dlbs: RunDlbs, tmp_path: Path, kind: str, flags: tuple[str, ...]) -> None:
    (write_pack(tmp_path / "packs" / "mine") / "requirements.in").write_text("six\n")
    place, thesis = tmp_path / "base" / "venv" / "mine", tmp_path / "elsewhere" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    (thesis.parent / "made-by-dlbs").touch()
    place.parent.mkdir(parents=True)
    if kind == "directory":
        place.mkdir()
        (place / "thesis.tex").write_text("years of work")
    elif kind == "link":
        place.symlink_to(thesis.parent)
    else:
        place.write_text("years of work")
    done = dlbs("pack", "install", "mine", *flags, DLBS_BASE=str(tmp_path / "base"))
    assert done.returncode == 2
    assert f"{place}: was not created by dlbs and is not changed" in done.stderr
    kept = {"directory": place / "thesis.tex", "link": thesis, "file": place}[kind]
    assert kept.read_text() == "years of work"
    assert sorted(path.name for path in thesis.parent.iterdir()) == ["made-by-dlbs", "thesis.tex"]


@pytest.mark.parametrize("group", ["..", "../../elsewhere", "{}/elsewhere"])
def test_an_install_group_cannot_lead_elsewhere(dlbs: RunDlbs, tmp_path: Path, group: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "made-by-dlbs").touch()
    write_pack(tmp_path / "packs" / "mine", f"mine: {{install_group: '{group.format(tmp_path)}'}}")
    done = dlbs("pack", "install", "mine", "--force", DLBS_BASE=str(tmp_path / "base"))
    assert done.returncode == 2
    assert "is not an install group" in done.stderr
    assert (tmp_path / "elsewhere" / "made-by-dlbs").exists()
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("variant", ["..", "../x", "/tmp/x", "a b", ""])
def test_a_variant_cannot_lead_elsewhere(dlbs: RunDlbs, tmp_path: Path, variant: str) -> None:
    (write_pack(tmp_path / "packs" / "mine") / "requirements.in").write_text("six\n")
    done = dlbs("pack", "pin", "mine", "--variant", variant)
    assert done.returncode == 2
    assert "is not a variant" in done.stderr


def test_pinned_requirements_of_somebody_else_are_left_alone(dlbs: RunDlbs, tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "packs" / "mine")
    (pack / "requirements.in").write_text("six\n")
    (pack / "requirements.cpu.txt").write_text("six==1.16.0\n")
    done = dlbs("pack", "pin", "mine", "--variant", "cpu")
    assert done.returncode == 2
    assert "requirements.cpu.txt: was not written by dlbs, so it is not replaced" in done.stderr
    assert (pack / "requirements.cpu.txt").read_text() == "six==1.16.0\n"


@pytest.mark.integration
def test_a_pack_is_prepared_again_for_other_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLBS_BASE", str(tmp_path / "base"))
    told: list[str] = []
    for dataset in ("cifar10", "cifar10", "imagenet"):
        directory = write_pack(tmp_path / "packs" / "pa", f"pa: {{argv: {{--dataset: {dataset}}}}}")
        (directory / "prepare.py").write_text("import sys; print(sys.argv[1:], file=open('ran', 'a'))")
        prepare([find_pack("pa", [tmp_path / "packs"])], tell=told.append)
    assert told == ["pa: prepared", "pa: already prepared", "pa: prepared"]
    assert (directory / "ran").read_text() == "['--dataset', 'cifar10']\n['--dataset', 'imagenet']\n"


@pytest.mark.parametrize("flag", ["-r ", "-c ", "-r", "--requirement=", "--constraint "])
def test_included_requirements_count(tmp_path: Path, flag: str) -> None:
    directory = write_pack(tmp_path / "packs" / "pa")
    (directory / "requirements.in").write_text(
        f"six\n{flag}more/a.txt  # more\n-r https://example.com/x.txt\n-r gone.txt\n"
    )
    (directory / "more").mkdir()
    (directory / "more" / "a.txt").write_text("-r b.txt\n")
    (directory / "more" / "b.txt").write_text("-r a.txt\n")
    pack = find_pack("pa", [tmp_path / "packs"])
    before = environments._digest(pack, directory / "requirements.in")
    assert environments._digest(pack, directory / "requirements.in") == before
    (directory / "more" / "b.txt").write_text("-r a.txt\ntqdm\n")
    assert environments._digest(pack, directory / "requirements.in") != before
