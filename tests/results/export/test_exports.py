"""Exports, each read back by the tool that it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import LogError
from dlbs.results.export.kinds import KINDS, SUFFIXES, export, kind_of_file
from dlbs.results.read.records import read_runs
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_logs, make_record

HOSTILE = '<b>"&\\ ]]>\x1b[31m\n# TYPE x counter\nx{a="b"} 1'
WARNING = "CPU contention: 86 % of the CPUs were used by others"


def some_records() -> list[dict[str, Any]]:
    """Runs that ended in every way; one is doubtful, and one has a hostile name."""
    return [
        make_record(batch=4, repeat=1, exp__seconds=3.5, results__epoch_accuracy_top1=[10.0, 55.5]),
        make_record(batch=4, repeat=2, exp__seconds=4.0, results__warnings=[WARNING]),
        make_record(HOSTILE, status="failure", exp__seconds=1.5, exp__log_file="logs/hostile.log"),
        make_record("vgg16", status="timeout", exp__seconds=9.0),
        make_record("vgg19", status="skipped"),
        make_record("vgg11", status="cancelled"),
        make_record("vgg13", status="unfinished"),
    ]


def exported(path: Path, records: list[dict[str, Any]], kind: str = "") -> Path:
    export(kind or kind_of_file(str(path)), declared(records), str(path))
    return path


@pytest.mark.parametrize("name", ["r.json", "r.json.gz", "r.jsonl", "r.jsonl.gz", "r.csv", "r.csv.gz", "r.parquet"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    records = [*some_records(), make_record(my__mixed=1), make_record(my__mixed=[1, {"a": "x"}], my__large=2**70)]
    assert read_runs([str(exported(tmp_path / name, records))]).records() == records


@pytest.mark.parametrize(
    "value",
    [
        "", "0", "0.50", "-1", " 7", "1e3", "0,1", "true", "True", "null", "nullable", "NaN", "-Infinity", "no", "[1]", "[1", "{}", '"', '"0"',
        '"\\"0\\""', "=1+1", "'=1", "'0", " ", "a\r\nb", "\r", "\0", "\u00e9", "\x85", None, True, 0, -0.5, 1e300, [], [""], {"a": None},
    ],
)  # fmt: skip
def test_values_in_csv_files_keep_their_types(tmp_path: Path, value: Any) -> None:
    records = [{"exp.model": "a", "my.value": value}, {"exp.model": "b"}]
    (found, other) = read_runs([str(exported(tmp_path / "r.csv", records))])
    assert (type(found["my.value"]), found) == (type(value), records[0])
    assert other == records[1]


def test_a_csv_file_that_was_written_by_hand_has_typed_values(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        'exp.model,exp.repeat,exp.docker,my.list,my.empty,my.text\nnet,1,true,"[1, 2]",,it\'s\n'
    )
    assert read_runs([str(tmp_path / "r.csv")]).records() == [
        {"exp.model": "net", "exp.repeat": 1, "exp.docker": True, "my.list": [1, 2], "my.text": "it's"}
    ]


def test_a_csv_file_of_long_runs_is_read(tmp_path: Path) -> None:
    records = [make_record(batches=20_000)]
    assert read_runs([str(exported(tmp_path / "r.csv", records))]).records() == records


def test_json_lines_are_one_experiment_a_line(tmp_path: Path) -> None:
    records = some_records()
    lines = exported(tmp_path / "r.jsonl", records).read_text().splitlines()
    assert [json.loads(line) for line in lines] == records


@pytest.mark.parametrize(
    ("line", "message"), [("{", "r.jsonl:2: not JSON"), ("[1]", "r.jsonl:2: not a JSON object")], ids=["torn", "list"]
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f'{{"exp.model": "x"}}\n{line}\n')
    with pytest.raises(LogError, match=message):
        read_runs([str(path)])


def test_pandas_reads_parquet_with_types(tmp_path: Path) -> None:
    import pandas

    records = some_records()
    records[0] |= {"exp.flag": True, "exp.surrogate": "\ud800"}
    frame = pandas.read_parquet(exported(tmp_path / "r.parquet", records))
    assert list(frame["exp.model"]) == [record["exp.model"] for record in records]
    assert frame["exp.replica_batch"].dtype == "int64"
    assert frame["results.throughput"].dtype == "float64"
    assert frame["exp.flag"][0]
    assert frame["exp.surrogate"][0] == "?"
    assert list(frame["results.time_data"][0]) == records[0]["results.time_data"]


def test_a_file_that_is_no_parquet_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("PAR1 nothing of the kind")
    with pytest.raises(LogError, match=r"x\.parquet: cannot be read"):
        read_runs([str(tmp_path / "x.parquet")])


def test_junit_says_what_failed_and_why(tmp_path: Path) -> None:
    import junitparser

    records = some_records()
    xml = junitparser.JUnitXml.fromfile(str(exported(tmp_path / "junit.xml", records)))
    assert (xml.tests, xml.failures, xml.errors, xml.skipped, xml.time) == (7, 2, 2, 1, 18.0)
    (suite,) = xml
    assert (suite.name, suite.hostname, suite.timestamp) == ("pytorch.training", "node1", "2026-11-21T10:01:00")
    tests = list(suite)
    assert len({test.name for test in tests}) == len(tests)
    kinds = [[(type(one).__name__, one.message) for one in test.result] for test in tests]
    assert kinds == [
        [], [], [("Failure", "exit code 1")], [("Failure", "exit code 1")], [("Skipped", "exit code 1")], [("Error", "exit code 1")],
        [("Error", "exit code 1")],
    ]  # fmt: skip
    assert tests[0].time == 3.5
    assert tests[0].system_out is None
    assert tests[1].system_out == f"doubtful: {WARNING}"
    assert tests[2].name.startswith('<b>"&\\ ]]>?[31m?# TYPE')
    assert "log: logs/hostile.log" in tests[2].result[0].text


def test_runs_with_the_same_parameters_are_numbered_tests(tmp_path: Path) -> None:
    import junitparser

    records = [make_record(seed=1), make_record(seed=2), make_record(seed=3)]
    (suite,) = junitparser.JUnitXml.fromfile(str(exported(tmp_path / "junit.xml", records)))
    assert [test.name for test in suite][1:] == [f"{next(iter(suite)).name} (2)", f"{next(iter(suite)).name} (3)"]


def test_prometheus_reads_every_number_in_base_units(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    records = some_records()
    content = exported(tmp_path / "dlbs.prom", records).read_text()
    samples = [one for family in text_string_to_metric_families(content) for one in family.samples]
    keys = [(one.name, tuple(sorted(one.labels.items()))) for one in samples]
    assert len(set(keys)) == len(keys)
    assert not any(one.timestamp for one in samples)  # the textfile collector refuses those
    values = {(one.name, one.labels["id"]): one.value for one in samples}
    first = records[0]
    assert values["dlbs_time_seconds", "alexnet-4-1-1"] == pytest.approx(first["results.time"] / 1000)
    assert values["dlbs_throughput_instances_per_second", "alexnet-4-1-1"] == first["results.throughput"]
    assert values["dlbs_memory_host_bytes", "alexnet-4-1-1"] == first["results.memory_host"]
    assert values["dlbs_experiment_duration_seconds", "alexnet-4-1-1"] == 3.5
    assert values["dlbs_experiment_doubtful", "alexnet-4-1-1"] == 0
    assert values["dlbs_experiment_doubtful", "alexnet-4-2-1"] == 1
    statuses = {one.labels["model"]: one.labels["status"] for one in samples if one.name == "dlbs_experiment_status"}
    assert statuses == {
        "alexnet": "ok", HOSTILE: "failure", "vgg16": "timeout", "vgg19": "skipped", "vgg11": "cancelled", "vgg13": "unfinished",
    }  # fmt: skip


def test_of_runs_with_the_same_labels_prometheus_gets_the_last(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    later, earlier = (
        {**make_record(time=time), "exp.start_time": f"2026-11-21T{began}"}
        for time, began in ((20, "05:00:00+0000"), (10, "10:00:00+0900"))
    )
    content = exported(tmp_path / "dlbs.prom", [later, earlier]).read_text()
    (family,) = [one for one in text_string_to_metric_families(content) if one.name == "dlbs_time_seconds"]
    assert [one.value for one in family.samples] == [later["results.time"] / 1000]


def test_keys_that_prometheus_cannot_tell_apart_are_one_metric(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    record = make_record(results__my_key=1.0)
    record |= {"results.my-key": 2.0}
    content = exported(tmp_path / "dlbs.prom", [record]).read_text()
    (family,) = [one for one in text_string_to_metric_families(content) if one.name == "dlbs_my_key"]
    assert [one.value for one in family.samples] == [1.0]


def test_results_with_names_of_ours_are_other_metrics(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    content = exported(tmp_path / "dlbs.prom", [make_record(results__experiment_status=7.0)]).read_text()
    families = {one.name: one for one in text_string_to_metric_families(content)}
    assert [one.value for one in families["dlbs_experiment_status"].samples] == [1.0]
    assert [one.value for one in families["dlbs_results_experiment_status"].samples] == [7.0]
    assert content.count("# TYPE dlbs_experiment_status ") == 1


@pytest.mark.integration
def test_mlflow_finds_runs_with_parameters_metrics_and_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    records = some_records()
    for new in (7, 0):  # a second export adds nothing
        count, _ = export("mlflow", declared(records), str(tmp_path / "mlruns"))
        assert count == new
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("dlbs")
    assert experiment is not None
    runs = {run.data.tags["mlflow.runName"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 7
    statuses = {run.data.tags["dlbs.status"]: run.info.status for run in runs.values()}
    assert statuses == {
        "ok": "FINISHED", "failure": "FAILED", "timeout": "FAILED", "skipped": "KILLED", "cancelled": "KILLED", "unfinished": "FAILED",
    }  # fmt: skip
    (first,) = (run for name, run in runs.items() if name.startswith("alexnet") and name.endswith("repeat 1"))
    assert first.data.params["exp.replica_batch"] == "4"
    assert first.data.metrics["results.throughput"] == pytest.approx(records[0]["results.throughput"])
    history = client.get_metric_history(first.info.run_id, "results.epoch_accuracy_top1")
    assert [(one.step, one.value) for one in history] == [(0, 10.0), (1, 55.5)]
    assert first.info.end_time - first.info.start_time == 3500
    (doubtful,) = (run for run in runs.values() if "dlbs.warnings" in run.data.tags)
    assert doubtful.data.tags["dlbs.warnings"] == WARNING


@pytest.mark.integration
def test_a_run_that_an_interrupted_export_left_incomplete_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    def interrupted(*_: object, metrics: object = (), **__: object) -> None:
        if metrics:
            raise KeyboardInterrupt

    records, store = some_records()[:1], tmp_path / "mlruns"
    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, "log_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            exported(store, records, "mlflow")
    for new in (1, 0):
        assert export("mlflow", declared(records), str(store))[0] == new
    client = mlflow.MlflowClient(tracking_uri=store.as_uri())
    experiment = client.get_experiment_by_name("dlbs")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["results.throughput"] == pytest.approx(records[0]["results.throughput"])
    assert run.data.params["exp.model"] == "alexnet"


@pytest.mark.integration
def test_tensorboard_reads_scalars_by_step_and_hyperparameters(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    records = some_records()
    for _ in range(2):  # a second export writes the same files again
        exported(tmp_path / "tb", records, "tensorboard")
    directories = sorted((tmp_path / "tb").iterdir())
    assert len(directories) == len(records)
    assert all(len(list(directory.iterdir())) == 1 for directory in directories)
    (first,) = (one for one in directories if one.name.startswith("alexnet_batch_4_repeat_1"))
    events = EventAccumulator(str(first)).Reload()
    assert [one.value for one in events.Scalars("results.epoch_accuracy_top1")] == [10.0, 55.5]
    times = events.Scalars("results.time_data")
    assert [one.step for one in times] == list(range(50))
    assert [one.value for one in times] == pytest.approx(records[0]["results.time_data"])
    start = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    assert start.session_start_info.hparams["exp.replica_batch"].number_value == 4
    (second,) = (one for one in directories if one.name.startswith("alexnet_batch_4_repeat_2"))
    (warning,) = EventAccumulator(str(second)).Reload().Tensors("warnings/text_summary")
    assert warning.tensor_proto.string_val[0].decode() == f"- {WARNING}"


@pytest.mark.integration
def test_tensorboard_has_an_experiment_once_also_after_an_export_with_others(tmp_path: Path) -> None:
    records = [make_record(batch=4), make_record(batch=8)]
    exported(tmp_path / "tb", records[:1], "tensorboard")
    (first,) = (tmp_path / "tb").iterdir()
    exported(tmp_path / "tb", records, "tensorboard")
    assert len(list((tmp_path / "tb").iterdir())) == 2
    assert len(list(first.iterdir())) == 1


def test_every_kind_has_a_test_here() -> None:
    assert set(KINDS) == {"json", "jsonl", "csv", "parquet", "junit", "prometheus", "mlflow", "tensorboard"}
    assert set(SUFFIXES.values()) <= set(KINDS)


def test_a_name_that_says_no_format_is_refused() -> None:
    with pytest.raises(LogError, match="the file name has no known suffix"):
        kind_of_file("results.txt")


def test_the_collector_would_not_read_another_name(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"only \.prom files"):
        exported(tmp_path / "metrics.txt", some_records(), "prometheus")


def test_the_verb(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", some_records()[:2])
    assert "2 experiments → junit.xml" in dlbs("export", "logs", "-o", "junit.xml", check=True).stderr
    assert "2 experiments → r.parquet" in dlbs("export", "logs", "-o", "r.parquet", check=True).stderr
    dlbs("export", "logs", "-o", "r.jsonl", "--filter-query", '{"exp.repeat": 2}', check=True)
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 1
    assert "alexnet" in dlbs("report", "r.parquet", check=True).stdout
    done = dlbs("export", "logs", "-o", "results.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "add --to" in done.stderr
