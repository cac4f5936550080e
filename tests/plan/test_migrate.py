"""Configurations and plans of the original are rewritten, or what cannot be is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError
from dlbs.launch.script import make_launcher
from dlbs.plan.build import build
from dlbs.plan.migrate import lines, migrate, summary
from dlbs.plan.pipeline import processor_for
from tests.conftest import RunDlbs

# The names and the kinds of values that the original's own configurations have; written for this test.
ORIGINAL = r"""
{
  // a comment
  "parameters": {
    "exp.status": "disabled",
    "exp.framework": "pytorch",
    "exp.proj": "mine",
    "exp.data_dir": "/data # not a comment // nor this",
    "exp.docker": false,
    "exp.docker_launcher": "nvidia-docker",
    "monitor.frequency": 0.5,
    "monitor.timeseries": "time:str:1",
    "pytorch.data_loader_only": false,
    "exp.id": "$(uuid.uuid4().__str__().replace('-', ''))$",
    "exp.log_file": "logs/$(\"${exp.gpus}\".replace(\",\", \".\"))$_${exp.model}_${exp.framework_ver}.log",
    "my.count": {"val": 1, "type": "int", "val_regex": "[0-9]+", "desc": ["How many", "of them."]},
    "//": "a comment again"
  },
  "variables": {"exp.model": ["alexnet", "resnet18"], "exp.replica_batch": [8, 16]},
  "extensions": [
    {"condition": {"exp.model": "alexnet", "exp.replica_batch": [8]}, "parameters": {"exp.status": ""}},
    {"condition": {"exp.proj": "(.*)"}, "parameters": {"my.project": "${__condition.exp.proj_1}"}}
  ]
}
"""


def rewritten(document: Any) -> tuple[Any, list[str], list[str]]:
    """The document, what was changed, and what is left to the user."""
    migration = migrate(document if isinstance(document, str) else json.dumps(document), "c.json")
    lines = [[f"{note.where}: {note.what}" for note in migration.notes if note.left == left] for left in (False, True)]
    return migration.document, lines[0], lines[1]


def parameters(**given: Any) -> tuple[dict[str, Any], list[str]]:
    document, _, left = rewritten({"parameters": given})
    return document["parameters"], left


def test_a_configuration_of_the_original_makes_the_plan_that_it_made(tmp_path: Path) -> None:
    document, changed, left = rewritten(ORIGINAL)
    assert left == []
    assert ": comments removed, because JSON has none" in changed
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document))
    config = load_config([path])
    plan = list(processor_for(config).resolve_all(build(config)))
    assert [(one["exp.model"], one["exp.replica_batch"], one["exp.status"]) for one in plan] == [
        ("alexnet", 8, ""),
        ("alexnet", 16, "inactive"),
        ("resnet18", 8, "inactive"),
        ("resnet18", 16, "inactive"),
    ]
    for one in plan:
        assert one["exp.project"] == one["my.project"] == "mine"
        assert one["pytorch.data_dir"] == "/data # not a comment // nor this"
        assert one["monitor.interval"] == 0.5
        assert one["exp.docker_launcher"] == "docker"
        assert len(one["exp.id"]) == 32
    assert config.declarations["my.count"].desc == "How many of them."
    assert config.declarations["my.count"].regexp == "[0-9]+"


def test_what_is_rewritten_once_stays_as_it_is() -> None:
    document, _, _ = rewritten(ORIGINAL)
    assert rewritten(document) == (document, [], [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"exp.rerun": True}, {"exp.rerun": "always"}),
        ({"exp.rerun": "false"}, {"exp.rerun": "never"}),
        ({"exp.rerun": "onfail"}, {"exp.rerun": "onfail"}),
        ({"exp.data": "synthetic"}, {}),
        ({"exp.data": "synthetic/pinned"}, {"pytorch.data": "synthetic/pinned"}),
        ({"pytorch.data_loader_only": True}, {"exp.phase": "ingestion"}),
        ({"exp.use_tensor_core": True}, {}),
        (
            {
                "pytorch.distributed_rank": 1,
                "pytorch.distributed_rendezvous": "h:1",
                "my.x": "${pytorch.distributed_rank}",
            },
            {"exp.node_rank": 1, "exp.rendezvous": "h:1", "my.x": "${exp.node_rank}"},
        ),
        ({"exp.framework_family": "${exp.framework}"}, {}),
        ({"exp.sys_info": "cpuinfo,meminfo,lscpu"}, {"exp.sys_info": "cpu,memory"}),
        ({"exp.env": "docker", "exp.device_batch": 4}, {"exp.docker": True, "exp.replica_batch": 4}),
        (
            {"pytorch.env": ["A=1", "${runtime.EXPORT_CUDA_CACHE_PATH}"]},
            {"pytorch.env": ["A=1"]},
        ),
        ({"my.x": "$(1 if ${monitor.frequency} > 0 else 0)$"}, {"my.x": "$(1 if ${monitor.interval} > 0 else 0)$"}),
        ({"my.x": "${${exp.framework_family}.data_dir}"}, {"my.x": "${${exp.framework}.data_dir}"}),
        ({"my.x": "$(os.environ.get('A', 1))$ os.environ['A']"}, {"my.x": "$(env('A', 1))$ os.environ['A']"}),
        ({"my.data_dir": "/x", "runtime.env.A": "1", "slurm.qos": "high"},) * 2,
    ],
)
def test_what_means_the_same_is_written_anew(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert parameters(**old) == (new, [])


def test_where_synthetic_data_lie_moves_from_every_place_of_a_configuration() -> None:
    extension = {"condition": {"exp.data": "synthetic/pinned"}, "cases": [{"exp.data": "synthetic/pageable"}]}
    document, _, left = rewritten(
        {
            "parameters": {"exp.framework": "pytorch", "exp.data": "synthetic/pinned", "my.title": "on ${exp.data}"},
            "variables": {"exp.data": ["synthetic/pinned", "synthetic/device"]},
            "extensions": [extension],
        }
    )
    assert left == []
    assert document == {
        "parameters": {"exp.framework": "pytorch", "pytorch.data": "synthetic/pinned", "my.title": "on ${exp.data}"},
        "variables": {"pytorch.data": ["synthetic/pinned", "synthetic/device"]},
        "extensions": [
            {"condition": {"pytorch.data": "synthetic/pinned"}, "cases": [{"pytorch.data": "synthetic/pageable"}]}
        ],
    }


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ({"exp.use_tensor_core": False}, "false has no equivalent"),
        ({"pytorch.distributed_backend": "nccl"}, "torchrun"),
        ({"exp.framework_family": "caffe"}, "exp.framework alone"),
        ({"exp.singularity": True}, "containers are started by docker"),
        ({"my.x": "$(f'{1}')$"}, "without the f"),
        ({"my.x": "${pytorch.distributed_backend}"}, "refers to pytorch.distributed_backend"),
        ({"my.x": "$('a' if '${exp.docker}' == 'True' else 'b')$"}, "compare the value"),
        ({"exp.framework": "tensorflow"}, "tensorflow is not included in DLBS"),
        (
            {"exp.framework": "x", "x.launcher": "./x.sh", "exp.data_dir": "/x"},
            "each framework has its own directory",
        ),
        ({"exp.framework": "jax", "exp.data": "synthetic/pinned"}, "synthetic/pinned has no equivalent"),
    ],
)
def test_what_has_no_equivalent_stays_as_it_was_and_is_named(old: dict[str, Any], said: str) -> None:
    new, left = parameters(**old)
    assert new == old
    assert len(left) == 1
    assert said in left[0]


def test_words_that_nothing_collects_are_named() -> None:
    new, left = parameters(**{"exp.sys_info": "inxi,cpuinfo"})
    assert new == {"exp.sys_info": "cpu"}
    assert left == ["parameters.exp.sys_info: inxi was removed: the output of inxi and dmi is not collected"]


def test_names_of_ones_own_in_a_shipped_namespace_are_declared(tmp_path: Path) -> None:
    document, changed, left = rewritten({"parameters": {"exp.gpu_id": "t4"}, "variables": {"exp.trial": [0, 1]}})
    assert left == []
    assert len(changed) == 2
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document))
    experiments = list(build(load_config([path])))
    assert [(one["exp.gpu_id"], one["exp.trial"]) for one in experiments] == [("t4", 0), ("t4", 1)]


def test_a_pattern_that_met_more_than_the_whole_value_is_named() -> None:
    _, _, left = rewritten(
        {
            "variables": {"exp.model": ["alexnet", "alexnet_owt", "resnet18"]},
            "extensions": [
                {"condition": {"exp.model": "alexnet"}, "parameters": {"my.x": 1}},
                {"condition": {"exp.model": "resnet"}, "parameters": {"my.x": 1}},
                {"condition": {"exp.model": "alexnet.*|resnet18"}, "parameters": {"my.x": 1}},
            ],
        }
    )
    assert [line.split(":")[0] for line in left] == [f"extensions[{index}].condition.exp.model" for index in (0, 1)]
    assert "also matched alexnet_owt" in left[0]


def test_a_pattern_that_is_none_here_is_named() -> None:
    document = {
        "variables": {"exp.model": ["a"]},
        "extensions": [{"condition": {"exp.model": "(?!b)a"}, "parameters": {}}],
    }
    _, _, left = rewritten(document)
    assert len(left) == 1
    assert "look-around" in left[0]


def test_a_condition_on_a_name_that_nothing_sets_is_named() -> None:
    _, _, left = rewritten({"extensions": [{"condition": {"my.x": 1}, "parameters": {"my.y": 1}}]})
    assert len(left) == 1
    assert "my.x is never set" in left[0]


def test_conditions_get_the_values_that_mean_the_same() -> None:
    condition = {"exp.env": ["docker", "host"], "exp.data": "real"}
    extension = {"condition": condition, "cases": [{"exp.device_batch": 1}]}
    document, _, left = rewritten({"parameters": {"exp.env": "host"}, "extensions": [extension]})
    assert document["extensions"] == [
        {"condition": {"exp.docker": [True, False], "exp.data": "real"}, "cases": [{"exp.replica_batch": 1}]}
    ]
    assert [line.split(":")[0] for line in left] == ["extensions[0].condition.exp.data"]


def test_a_plan_gets_the_parameters_that_the_original_did_not_have() -> None:
    experiment = {
        "exp.framework": "pytorch",
        "exp.model": "resnet18",
        "exp.docker": False,
        "exp.gpus": "",
        "exp.framework_family": "${exp.framework}",
        "exp.docker_image": "${${exp.framework_family}.docker_image}",
        "exp.docker_launcher": "$('nvidia-docker' if '${exp.device_type}' == 'gpu' else 'docker')$",
        "exp.id": "$(uuid.uuid4().__str__().replace('-', ''))$",
        "exp.device_type": "$('gpu' if ${exp.num_gpus} > 0 else 'cpu')$",
        "runtime.python": "$(sys.executable if ${exp.docker} is False else 'python')$",
        "runtime.EXPORT_CUDA_VISIBLE_DEVICES": "CUDA_VISIBLE_DEVICES=${runtime.visible_gpus}",
        "runtime.visible_gpus": "$(re.sub('[:]', ',', '${exp.gpus}'))$",
        "exp.data_dir": "${${exp.framework_family}.data_dir}",
        "exp.docker_args": "--rm",
        "pytorch.data_dir": "/data",
        "pytorch.args": ["--model=${exp.model}"],
        "pytorch.launcher": "${DLBS_ROOT}/scripts/launchers/pytorch.sh",
    }
    document, changed, left = rewritten([experiment, {**experiment, "exp.model": "alexnet"}])
    assert left == []
    assert any("pytorch.args: removed" in line for line in changed)
    plan = list(processor_for(load_config()).resolve_all(document))
    assert [one["exp.model"] for one in plan] == ["resnet18", "alexnet"]
    for one in plan:
        assert one["exp.device_type"] == "cpu"
        assert one["exp.seed"] == 1
        assert one["pytorch.data_dir"] == "/data"
        assert one["exp.docker_args"] == ["--rm"]
        source = make_launcher(one).source
        assert source.count(f"--model={one['exp.model']}") == 1
        assert "--seed=1" in source
        assert not [name for name in one if name.startswith("runtime.EXPORT")]


def test_names_of_ones_own_in_a_plan_are_left_out_if_empty_and_named_if_not() -> None:
    own = {"exp.node_nic": "", "exp.cuda": "9.0", "exp.gpu_id": "t4", "exp.data_store": "", "my.x": "${exp.data_store}"}
    document, changed, left = rewritten([{"exp.framework": "dummy", **own}])
    assert changed == ["exp.node_nic: removed: it was empty"]
    assert [line.split(":")[0] for line in left] == ["exp.cuda", "exp.gpu_id", "exp.data_store"]
    assert document[0].items() >= {name: value for name, value in own.items() if name != "exp.node_nic"}.items()


def test_notes_of_a_plan_are_told_once() -> None:
    migration = migrate(json.dumps([{"exp.framework": "dummy", "exp.proj": "x"}] * 3), "p.json")
    assert list(lines(summary(migration, "p.json"))) == [
        "p.json: 1 changed:",
        "  exp.proj: is exp.project (3 experiments)",
        "p.json: 0 left to you",
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{", "not JSON"),
        ('{\n"parameters": {\n/* a */ "x" 1}}', "c.json:3"),
        ("3", "neither a configuration nor a plan"),
        ('{"data": []}', "neither a configuration nor a plan"),
        ("[1]", "neither a configuration nor a plan"),
        ('{"parameters": 3}', "parameters must be a mapping"),
        ('{"variables": [1]}', "variables must be a mapping"),
        ('{"extensions": {}, "parameters": {"a": 1}, "variables": "x"}', "variables must be a mapping"),
        ('{"extensions": [3]}', "extensions must be a list of mappings"),
        ('{"extensions": [{"condition": 3}]}', "condition of an extension must be a mapping"),
        ('{"extensions": [{"cases": 3}]}', "cases of an extension must be a list of mappings"),
    ],
)
def test_what_is_no_document_of_the_original_is_an_error(source: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        migrate(source, "c.json")
    assert said in str(raised.value)


def test_the_verb_keeps_what_was_there(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(ORIGINAL)
    dry = dlbs("migrate", "--dry-run", "c.json")
    assert dry.returncode == 0, dry.stderr
    assert "parameters.exp.proj: is exp.project" in dry.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]
    done = dlbs("migrate", "c.json")
    assert done.stdout == dry.stdout
    assert (tmp_path / "c.json.orig").read_text() == ORIGINAL
    assert json.loads((tmp_path / "c.json").read_text())["parameters"]["exp.project"] == "mine"
    again = dlbs("migrate", "c.json")
    assert again.stdout == "c.json: 0 changed\nc.json: 0 left to you\n"
    assert dlbs("build", "--plan", "c.json").returncode == 0
    (tmp_path / "c.json").write_text(ORIGINAL)
    refused = dlbs("migrate", "c.json")
    assert refused.returncode == 2
    assert "c.json.orig" in refused.stderr
    assert (tmp_path / "c.json").read_text() == ORIGINAL


def test_the_verb_writes_elsewhere_and_says_what_is_left(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"parameters": {"my.x": "$(f\'{1}\')$"}}')
    done = dlbs("migrate", "c.json", "--output", "new.json")
    assert done.returncode == 1
    assert "1 left to you" not in done.stdout  # it cannot be loaded either
    assert "without the f" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "new.json"]
    assert dlbs("migrate", "c.json", "new.json", "--output", "x.json").returncode == 2
    assert dlbs("migrate", "nothing.json").returncode == 2
