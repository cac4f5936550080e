"""Options of `benchmarks.py --serving`: how a model is put under load, and what its answers have to keep."""

from __future__ import annotations

from dataclasses import dataclass

from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.options.kinds import percent, positive, whole
from pytorch_benchmarks.options.option import option

__all__ = ["ServingOptions"]

SCENARIOS = ("single-stream", "multi-stream", "server", "offline")
WORKERS = ("threads", "processes")
SEARCHES = ("", "max_qps")
PROTOCOLS = ("openai", "predict")


@dataclass(frozen=True, slots=True)
class ServingOptions(CommonOptions):
    """One run, or one search, of MLPerf's load generator (LoadGen)."""

    serving: bool = option(False, "Put the model under the load of MLPerf's load generator (LoadGen).")
    serving_scenario: str = option(
        "single-stream",
        "Scenario of MLPerf Inference: one query after the other, with one sample or several; queries that arrive at random; all samples at once.",
        choices=SCENARIOS,
    )
    serving_target_qps: float = option(
        0.0,
        "Queries per second that arrive on average in the server scenario. Others have no rate.",
        positive,
        metavar="QPS",
    )
    serving_target_latency: float = option(
        0.0,
        "Milliseconds in which the percentile of queries has to be answered in the server scenario.",
        positive,
        metavar="MS",
    )
    serving_percentile: float = option(
        0.0,
        "Percentile of the latencies that counts, such as 99; 0 is the scenario's own: 90 for single-stream, 99 for the others.",
        percent,
        metavar="PERCENT",
    )
    serving_min_duration: float = option(
        10.0,
        "Seconds that a run takes at least. A submission to MLPerf needs 600.",
        positive,
        metavar="SECONDS",
    )
    serving_min_queries: int = option(
        0,
        "Queries that a run has at least; 0 is as many as LoadGen's early stopping needs, 662 for the 99th percentile.",
        whole(0),
    )
    serving_samples_per_query: int = option(8, "Samples in a query of the multi-stream scenario.", whole(1))
    serving_samples: int = option(64, "Different samples, which queries choose from at random.", whole(1))
    serving_schedule_seed: int = option(1, "Seed of LoadGen for the times at which queries arrive.", whole(0))
    serving_sample_seed: int = option(1, "Seed of LoadGen for the samples of each query.", whole(0))
    serving_library_seed: int = option(1, "Seed of LoadGen for the order in which it loads samples.", whole(0))
    serving_max_batch: int = option(
        0, "Samples that are worked on together at most; 0 is the batch size (exp.replica_batch).", whole(0)
    )
    serving_max_wait: float = option(
        0.0,
        "Milliseconds that the oldest waiting query waits at most for others to fill its batch.",
        positive,
        metavar="MS",
    )
    serving_workers: int = option(
        0, "Batches that are worked on at the same time; 0 is 1, or 32 connections with a URL.", whole(0)
    )
    serving_worker_kind: str = option(
        "threads", "Whether workers are threads that share a model or processes with one each.", choices=WORKERS
    )
    serving_queue_limit: int = option(
        0, "Queries that may wait; further ones are rejected, which counts as too late. 0 is no limit.", whole(0)
    )
    serving_prompt_tokens: str = option(
        "",
        "Language models: lengths of prompts, as 128, uniform:16:256, lognormal:MEDIAN:SIGMA[:MOST], or file:FILE with a length, or two, a line. "
        "The model's own if empty.",
        metavar="LENGTHS",
    )
    serving_output_tokens: str = option(
        "",
        "Language models: lengths of answers, in the same way; with a file, its second column.",
        metavar="LENGTHS",
    )
    serving_target_ttft: float = option(
        0.0,
        "Language models: milliseconds to the first token that server keeps; 0 is no bound.",
        positive,
        metavar="MS",
    )
    serving_target_tpot: float = option(
        0.0,
        "Language models: milliseconds for each further token that server keeps; 0 is no bound.",
        positive,
        metavar="MS",
    )
    serving_find: str = option(
        "",
        "What is searched for: max_qps is the highest rate of the server scenario that keeps the bounds.",
        choices=SEARCHES,
        metavar="WHAT",
    )
    serving_find_trials: int = option(20, "Runs that a search has at most.", whole(4))
    serving_find_precision: float = option(
        5.0,
        "Percent of the rate to which a search finds it: half the width of the interval at which it ends.",
        positive,
        metavar="PERCENT",
    )
    serving_url: str = option("", "Address of a server that answers instead of a model in this process.", metavar="URL")
    serving_protocol: str = option(
        "openai",
        "What the server at the URL speaks: the completions of OpenAI, or predict: a JSON body is posted, and JSON comes back.",
        choices=PROTOCOLS,
    )
    serving_body: str = option(
        "",
        "File that is posted to a predict endpoint for each query; JSON with the inputs of the model if empty.",
        metavar="FILE",
    )
    serving_timeout: float = option(
        60.0, "Seconds in which a server has to answer before the run fails.", positive, metavar="SECONDS"
    )
    serving_log_dir: str = option("", "Directory in which the logs of LoadGen are kept.", metavar="DIR")
    serving_keep_trace: bool = option(False, "Keep the trace of LoadGen too, which has an entry for each query.")
