"""What became of the original's names, values and expressions."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.config.names import expression_hint, former, former_hint, table, value_hint
from dlbs.core.errors import ConfigError, DlbsError, ResolveError
from dlbs.language.template import parse
from dlbs.plan.build import build
from dlbs.plan.explain import described, described_framework, explained
from dlbs.plan.pipeline import processor_for

DECLARED = load_config().declarations


@pytest.mark.parametrize("row", table().names, ids=lambda row: row.name)
def test_each_row_leads_to_parameters_that_exist(row: Any) -> None:
    settings = [one for one in row.values.values() if one]
    for name in filter(None, (row.new, row.reference, *(name for one in settings for name in one))):
        assert name in DECLARED
    for one in settings:
        for name, value in one.items():
            assert DECLARED[name].check(value) == value
    for word in filter(None, row.words.values()):
        DECLARED[row.name].check(word)


@pytest.mark.parametrize("row", table().names, ids=lambda row: row.name)
def test_a_name_that_exists_is_in_the_table_for_its_values_only(row: Any) -> None:
    if row.name in DECLARED and row.name != "monitor.frequency":  # which is accepted
        assert row.values or row.words
        assert not row.new
        assert not row.omit
    else:
        assert row.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("exp.data_dir", "exp.data_dir is now pytorch.data_dir: each framework has its own directory"),
        ("exp.proj", "exp.proj is now exp.project"),
        ("exp.framework_ver", "exp.framework_ver is now exp.framework_version"),
        ("pytorch.data_loader_only", "exp.phase=ingestion"),
        ("exp.use_tensor_core", "determines whether tensor cores are used"),
        ("exp.framework_family", "exp.framework alone determines the launcher"),
        ("monitor.launcher", "the monitor is part of dlbs run"),
        ("monitor.timeseries", "all series are always logged"),
        ("runtime.EXPORT_CUDA_CACHE_PATH", "every launcher sets CUDA_VISIBLE_DEVICES"),
        ("pytorch.distributed_rank", "pytorch.distributed_rank is now exp.node_rank"),
        ("pytorch.distributed_rendezvous", "pytorch.distributed_rendezvous is now exp.rendezvous"),
        ("pytorch.distributed_backend", "torchrun assigns ranks"),
        ("exp.node_nic", "declare it with a 'desc'"),
    ],
)
def test_the_error_of_an_unknown_name_says_what_to_write(name: str, hint: str) -> None:
    assert hint in former_hint(name)
    for flags in ({"parameters": [f"{name}=1"]}, {"variables": [f"{name}=[1,2]"]}):
        with pytest.raises(ConfigError, match=f"unknown parameter '{re.escape(name)}'") as raised:
            load_config(**flags)
        assert hint in raised.value.hint


def test_the_frequency_of_the_original_is_accepted_as_the_interval_and_explained(
    messages: list[str],
) -> None:
    config = load_config(parameters=["exp.framework=dummy", "monitor.frequency=0.1"])
    (experiment,) = processor_for(config).resolve_all(build(config))
    assert experiment["monitor.interval"] == 0.1
    assert messages == [
        "-Pmonitor.frequency: monitor.frequency is now monitor.interval: seconds between two samples, as in the original"
    ]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("${pytorch.distributed_rank}", "pytorch.distributed_rank is now exp.node_rank"),
        ("${exp.device_batch}.log", "exp.device_batch is now exp.replica_batch"),
        ("${caffe.fork}_caffe", "the original's framework caffe is not included in DLBS: set caffe.fork"),
        ("${exp.modle}", "did you mean 'exp.model'"),
    ],
)
def test_the_error_of_a_reference_says_what_to_write(value: str, hint: str) -> None:
    config = load_config(parameters=[f"exp.log_file={value}"])
    with pytest.raises(ResolveError) as raised:
        processor_for(config).resolve(next(build(config)))
    assert hint in raised.value.hint


def test_the_error_of_a_condition_says_what_to_write() -> None:
    with pytest.raises(ConfigError) as raised:
        list(build(load_config(extensions=['{"condition": {"exp.device_batch": 4}}'])))
    assert "exp.device_batch is now exp.replica_batch" in raised.value.hint


def test_help_says_what_became_of_names_and_frameworks() -> None:
    config = load_config()
    with pytest.raises(ConfigError, match=r"exp\.device_batch is now exp\.replica_batch"):
        described(config, "exp.device_batch")
    with pytest.raises(ConfigError, match=r"exp\.device_batch is now exp\.replica_batch"):
        explained(config, "exp.device_batch")
    for ask in (described, described_framework):
        with pytest.raises(
            ConfigError, match=r"the original's framework tensorrt is not included in DLBS: docs/launchers\.md"
        ):
            ask(config, "tensorrt")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("exp.status=disabled", "exp.status=disabled is now exp.status=inactive"),
        ("exp.rerun=true", "exp.rerun=true is now exp.rerun=always"),
        ("exp.data=synthetic/pinned", "exp.data=synthetic/pinned is now pytorch.data=synthetic/pinned"),
        ("exp.sys_info=cpuinfo,lscpu,inxi", "exp.sys_info=cpuinfo,lscpu,inxi is now exp.sys_info=cpu"),
    ],
)
def test_the_error_of_a_value_says_what_to_write(given: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(parameters=[given])
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    "given", ["exp.data=synthetic", "exp.status=simulate", "exp.sys_info=cpu", "exp.dtype=float16"]
)
def test_values_that_mean_the_same_are_accepted(given: str) -> None:
    name, _, value = given.partition("=")
    assert value_hint(name, value) == ""
    assert load_config(parameters=[given]).settings[name].value == value


def test_names_of_ones_own_are_not_in_the_table() -> None:
    assert former("my.data_dir") is None
    assert former_hint("exp.model") == ""
    assert value_hint("my.data", "synthetic/pinned") == ""


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("$(f'{1}')$", "without the f"),
        ("$('{}'.format(1))$", "'%s' % value"),
        ("$((lambda x: x)(1))$", "comprehension"),
        ("$(os.environ['HOME'])$", "env('NAME')"),
        ("$(os.environ.get('HOME', ''))$", "env('NAME', x)"),
        ("$(uuid.uuid4().__str__())$", "uuid4()"),
        ("$(sys.executable)$", "${DLBS_PYTHON}"),
        ("$(datetime.datetime.now())$", "-P"),
        ("$(os.popen('ls').read())$", "expressions cannot start programs"),
    ],
)
def test_the_error_of_an_expression_says_what_to_write(expression: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(parameters=[f"my.x={expression}"])
    assert hint in raised.value.hint


@pytest.mark.parametrize("value", ["alexnet", 1, "lambda", "a.format(b)", "$(len('abc'))$", "${exp.model} if 'x'"])
def test_what_is_fine_has_no_hint(value: Any) -> None:
    assert expression_hint(value) == ""


@pytest.mark.parametrize(
    "old",
    [
        "uuid.uuid4().__str__()",
        "str(uuid.uuid4())",
        "uuid.uuid4().hex",
        "os.environ['HOME']",
        'os.environ["HOME"]',
        "os.environ.get('HOME', 'x')",
        "os.environ.get('NO_SUCH_VARIABLE')",
        "sys.executable",
    ],
)
def test_replacements_are_expressions_of_ours(old: str) -> None:
    with pytest.raises(DlbsError):
        parse(f"$({old})$")
    new = old
    for row in table().expressions:
        if row.becomes is not None:
            new = re.sub(row.pattern, row.becomes, new)
    assert parse(f"$({new})$")


def test_abspath_is_a_function() -> None:
    config = load_config(parameters=["my.path=$(os.path.abspath('/a/../b'))$"])
    assert processor_for(config).resolve(next(build(config)))["my.path"] == "/b"
