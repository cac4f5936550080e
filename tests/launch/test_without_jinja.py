"""Plain templates are rendered as Jinja2 renders them, and everything else is rendered by Jinja2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import DlbsError
from dlbs.launch import template
from dlbs.launch.script import make_launcher
from dlbs.launch.without_jinja import NotPlainError, Rendering, _parsed
from dlbs.packs.configure import configure
from dlbs.plan.pipeline import resolved_plan
from tests.conftest import ROOT

VALUES = {
    "my.text": "a 'b' $c",
    "my.empty": "",
    "my.number": 3,
    "my.true": True,
    "my.list": ["x", "y z"],
    "my.table": {"k": "v", "startswith": "w"},
    "my.list.first": "p",
}
CONTEXT = {**template.namespaces(VALUES), "parameters": VALUES, "environment": [("A", "1"), ("B", "2")]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _parsed.cache_clear()
    return tmp_path / "cache" / "dlbs" / "launchers"


def plainly(path: Path, context: dict[str, Any] = CONTEXT) -> str:
    made = Rendering(path, path.parent, context, template._FILTERS, template._jinja_tree)
    return template.written(made.pieces, made.values, lambda _: "here")


def by_jinja(path: Path, monkeypatch: pytest.MonkeyPatch, context: dict[str, Any] = CONTEXT) -> str:
    def refuse(*_: object) -> None:
        raise NotPlainError

    with monkeypatch.context() as patched:
        patched.setattr(template, "Rendering", refuse)
        return template.render(path, context, lambda name: AssertionError(name))  # type: ignore[arg-type,return-value]


PLAIN = [
    "a {{ my.text }} b\n",
    "{% if my.empty %}a{% elif my.number > 2 %}b{% else %}c{% endif %}\n",
    "{% for name, value in environment %}\nexport {{ name | variable }}={{ value }}\n{% endfor %}\nend\n",
    "{% set x = 1 %}{% for one in my.list if one != 'x' %}{% set x = x + 1 %}{{ one }} {{ x }} {% endfor %} {{ x }}\n",
    "{% if my.true %}{% set x = my.number * 2 - 1 %}{% endif %}{{ x }}\n",
    "{% set ns = namespace(found=[my.number]) %}{% for one in my.list %}{% set ns.found = ns.found + [one] %}{% endfor %}{{ ns.found | words }}\n",
    "{{ my.table['k'] }} {{ parameters['my.' ~ 'text'] }} {{ my.text[2:5] }} {{ my.list[1] }}\n",
    "{{ my.text.partition(' ')[0] }} {{ 'yes' if my.text.startswith('a') and not my.empty else 'no' }}\n",
    "{{ my.empty or my.text }} {{ my.number in [1, 3] }} {{ 1 < my.number <= 3 }} {{ 'q' not in my.text }}\n",
    "{{ (my.list | map('sh') | list) | words }} {{ my.table | arguments('p_') | words }}\n",
    "{% include 'part.sh' %} {{ my.number }}\n",
    "{% extends 'base.sh' %}\n{% block body %}\n{% set x = my.number %}\nbody {{ x }}\n{% endblock %}\n",
    "{% raw %}{{ my.text }}{% endraw %} {# nothing #} {%- if my.true -%} x {%- endif %}\n",
    "{% if my.empty %}{{ 1 | nothing }}{% endif %}\n",
]
OTHERS = [
    "{% set all = [] %}{% for one in my.list %}{% set _ = all.append(one ~ '=' ~ my.number) %}{% endfor %}{{ all | words }}\n",
    "{{ my.text | upper }}\n",
    "{% for one in my.list %}{{ loop.index }} {% endfor %}\n",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(1) }}\n",
    "{{ my.text if my.empty is defined }}\n",
    "{% set x %}a{% endset %}{{ x }}\n",
    "{% for one in [] %}a{% else %}b{% endfor %}\n",
    "{% include ['none.sh', 'part.sh'] %}\n",
    "{{ my.table.k }}\n",
    "{{ my.list.append(1) }}\n",
    "{{ range(3) | list | words }}\n",
    "{% set x = 1 %}{% block body %}{{ x }}{% endblock %}\n",
    "{% extends 'child.sh' %}{% block inner %}i{% endblock %}\n",
    "{% set x = 1 %}{% include 'base.sh' %}\n",
    "{% set loop = 1 %}{{ loop }}\n",
]


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    (tmp_path / "part.sh").write_text("part {{ my.number }}{% set x = 5 %}{% if x %} {{ x }}{% endif %}")
    (tmp_path / "base.sh").write_text(
        "{% block head %}\nhead {{ my.text }}\n{% endblock %}\n{% block body %}\n{% endblock %}\n"
    )
    (tmp_path / "child.sh").write_text(
        "{% extends 'base.sh' %}{% block body %}{% block inner %}x{% endblock %}{% endblock %}\n"
    )
    return tmp_path / "launcher.sh"


@pytest.mark.parametrize("source", PLAIN)
def test_plain_templates_give_the_same_script(launcher: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher.write_text(source)
    expected = by_jinja(launcher, monkeypatch)
    assert plainly(launcher) == expected  # parsed
    _parsed.cache_clear()
    assert plainly(launcher) == expected  # from the cache


@pytest.mark.parametrize("source", OTHERS)
def test_other_templates_are_left_to_jinja(launcher: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher.write_text(source)
    for _ in range(2):
        with pytest.raises(NotPlainError):
            plainly(launcher)
        _parsed.cache_clear()
    fresh = {**CONTEXT, **template.namespaces({**VALUES, "my.list": ["x"]})}
    expected = by_jinja(launcher, monkeypatch, fresh)
    fresh = {**CONTEXT, **template.namespaces({**VALUES, "my.list": ["x"]})}
    assert template.render(launcher, fresh, AssertionError) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "source",
    [
        "{{ my.other }}",
        "{{ other }}",
        "'{{ my.text }}'",
        "{{ 1 | nothing }}",
        "{{ my.text.__class__ }}",
        "{{ my._values }}",
        "{{ ''.format.__globals__ }}",
        "{% extends 'launcher.sh' %}",
        "{% include 'launcher.sh' %}",
        "{% include 'none.sh' %}",
        "{% include '../launcher.sh' %}",
        "{% for %}",
        "{{ 1 / 0 }}",
        "\U000f0000 {{ my.number }}",
        "{{ my.text | variable }}",
    ],
)
def test_errors_are_those_of_jinja(launcher: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher.write_text(source)

    def message(render: Any) -> str:
        with pytest.raises((DlbsError, AssertionError)) as raised:
            render()
        return str(raised.value)

    expected = message(lambda: by_jinja(launcher, monkeypatch))
    assert message(lambda: template.render(launcher, CONTEXT, AssertionError)) == expected  # type: ignore[arg-type]


FRAMEWORKS = ("pytorch", "train", "jax", "onnxruntime", "dummy", "command")
SETTINGS: list[dict[str, Any]] = [
    {},
    {"exp.docker": True, "exp.network": False, "exp.cpus": "0-1", "runtime.memory": "2G", "exp.gpus": "0,1"},
    {"exp.num_nodes": 2},
    {"exp.num_nodes": 2, "exp.rendezvous": "host:1", "exp.docker": True},
    {"exp.phase": "serving", "exp.docker": True, "serving.log_dir": "a b", "serving.prompt_tokens": "file:lengths"},
    {"runtime.launcher": ["nice", "-n", "3"], "runtime.env.X": "a b", "runtime.env.Y": "${HOME}"},
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: ",".join(one) or "default")
def test_our_launchers_are_plain(framework: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    command = {"command.argv": ["a b", "", "$x"], "command.prepare": "make 'x y'"} if framework == "command" else {}
    usual = {"exp.framework": framework, "exp.docker": False, "exp.gpus": ""}
    (experiment,) = resolved_plan(configure(parameters={**usual, **settings, **command}), None)()

    def refuse(*_: object) -> None:
        raise NotPlainError

    source = make_launcher(experiment).source
    with monkeypatch.context() as patched:
        patched.setattr(template, "_environment", refuse)  # of Jinja2
        assert make_launcher(experiment).source == source
        patched.undo()
        patched.setattr(template, "Rendering", refuse)
        assert make_launcher(experiment).source == source


def test_a_changed_template_is_parsed_again(launcher: Path) -> None:
    launcher.write_text("a {{ my.number }}")
    assert plainly(launcher) == "a 3"
    launcher.write_text("b {{ my.number }}")
    assert plainly(launcher) == "b 3"


def test_a_cache_of_another_user_or_a_damaged_one_is_not_used(
    launcher: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher.write_text("a {{ my.number }}")
    plainly(launcher)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes().replace(b"number", b"numbre"))
    _parsed.cache_clear()
    assert plainly(launcher) == "a 3"
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    parsed: list[str] = []
    monkeypatch.setattr(
        template, "_jinja_tree", lambda source, parse=template._jinja_tree: parsed.append(source) or parse(source)
    )
    _parsed.cache_clear()
    assert plainly(launcher) == "a 3"
    assert parsed


@pytest.mark.integration
def test_the_second_run_does_without_jinja(tmp_path: Path) -> None:
    program = "import sys, atexit; atexit.register(lambda: print('jinja2' in sys.modules)); from dlbs.cli.main import main; main()"
    words = ["run", "--quiet", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus=", "-Pexp.rerun=always"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'python'}"}
    found = [
        subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[-1]
        for _ in range(2)
    ]
    assert found == ["True", "False"]
