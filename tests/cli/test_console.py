"""Text of users on a console is printed as it is."""

from __future__ import annotations

import pytest

from dlbs.cli.streams import console


@pytest.mark.parametrize("text", ["serving:b:16", ":car:", "[bold]x[/bold]"])
def test_a_label_is_no_markup(capsys: pytest.CaptureFixture[str], text: str) -> None:
    console().print(text)
    assert capsys.readouterr().out == f"{text}\n"
