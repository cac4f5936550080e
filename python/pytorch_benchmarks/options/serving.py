"""Options of `benchmarks.py --serving`: the load on a model, and the latency bounds."""

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
    """Options of one run, or one search, of MLPerf's load generator (LoadGen)."""

    serving: bool = option(False, "Measure the model under load from MLPerf's load generator (LoadGen).")
    serving_scenario: str = option(
        "single-stream",
        "Scenario of MLPerf Inference: sequential queries with one sample (single-stream) or several (multi-stream), queries that arrive at random (server), or all samples at once (offline).",
        choices=SCENARIOS,
    )
    serving_target_qps: float = option(
        0.0,
        "Mean arrival rate in the server scenario, in queries per second. Other scenarios have no rate.",
        positive,
        metavar="QPS",
    )
    serving_target_latency: float = option(
        0.0,
        "Bound of the latency percentile in the server scenario, in milliseconds.",
        positive,
        metavar="MS",
    )
    serving_percentile: float = option(
        0.0,
        "Latency percentile that is evaluated, such as 99; 0 is the default of the scenario: 90 for single-stream, 99 for the others.",
        percent,
        metavar="PERCENT",
    )
    serving_min_duration: float = option(
        10.0,
        "Minimum duration of a run in seconds. A submission to MLPerf needs 600.",
        positive,
        metavar="SECONDS",
    )
    serving_min_queries: int = option(
        0,
        "Minimum number of queries in a run; 0 is as many as LoadGen's early stopping needs, 662 for the 99th percentile.",
        whole(0),
    )
    serving_samples_per_query: int = option(8, "Samples per query in the multi-stream scenario.", whole(1))
    serving_samples: int = option(64, "Number of different samples; queries choose from them at random.", whole(1))
    serving_schedule_seed: int = option(1, "LoadGen's seed for the arrival times of queries.", whole(0))
    serving_sample_seed: int = option(1, "LoadGen's seed for the samples of each query.", whole(0))
    serving_library_seed: int = option(1, "LoadGen's seed for the order in which it loads samples.", whole(0))
    serving_max_batch: int = option(
        0, "Maximum number of samples that are processed together; 0 is the batch size (exp.replica_batch).", whole(0)
    )
    serving_max_wait: float = option(
        0.0,
        "Maximum time that the oldest waiting query waits for others to fill its batch, in milliseconds.",
        positive,
        metavar="MS",
    )
    serving_workers: int = option(
        0, "Batches that are processed in parallel; 0 is 1, or 32 connections with a URL.", whole(0)
    )
    serving_worker_kind: str = option(
        "threads", "Type of the workers: threads that share a model, or processes with one model each.", choices=WORKERS
    )
    serving_queue_limit: int = option(
        0,
        "Maximum number of waiting queries; further ones are rejected, which counts as too late. 0 is no limit.",
        whole(0),
    )
    serving_prompt_tokens: str = option(
        "",
        "Language models: lengths of prompts, as 128, uniform:16:256, lognormal:MEDIAN:SIGMA[:MOST], or file:FILE with one or two lengths per line. If empty, the model's default.",
        metavar="LENGTHS",
    )
    serving_output_tokens: str = option(
        "",
        "Language models: lengths of answers, in the same format; with a file, its second column.",
        metavar="LENGTHS",
    )
    serving_target_ttft: float = option(
        0.0,
        "Language models: bound of the time to first token in the server scenario, in milliseconds; 0 is no bound.",
        positive,
        metavar="MS",
    )
    serving_target_tpot: float = option(
        0.0,
        "Language models: bound of the time per further token in the server scenario, in milliseconds; 0 is no bound.",
        positive,
        metavar="MS",
    )
    serving_find: str = option(
        "",
        "Quantity to search for: max_qps is the highest rate of the server scenario that meets the bounds.",
        choices=SEARCHES,
        metavar="WHAT",
    )
    serving_find_processes: int = option(
        5,
        "Number of processes in a search, one after the other, each with the model loaded anew; the interval of the result includes how they differ.",
        whole(1),
    )
    serving_find_trials: int = option(
        25, "Maximum number of runs in a search, of all processes together; at least four per process.", whole(4)
    )
    serving_find_precision: float = option(
        10.0,
        "Precision of a search, in percent of the rate: half the width of the interval. A process ends when its trials reach it; a warning is logged if the result does not.",
        positive,
        metavar="PERCENT",
    )
    serving_url: str = option(
        "", "URL of a server that answers queries, instead of a model in this process.", metavar="URL"
    )
    serving_protocol: str = option(
        "openai",
        "Protocol of the server at the URL: openai is OpenAI's completions, predict posts a JSON body and receives JSON.",
        choices=PROTOCOLS,
    )
    serving_body: str = option(
        "",
        "File that is posted to a predict endpoint for each query; if empty, JSON with the inputs of the model.",
        metavar="FILE",
    )
    serving_timeout: float = option(
        60.0, "Seconds to wait for an answer of the server before the run fails.", positive, metavar="SECONDS"
    )
    serving_log_dir: str = option("", "Directory for LoadGen's logs.", metavar="DIR")
    serving_keep_trace: bool = option(False, "Also keep LoadGen's trace, which has an entry for each query.")
