"""Options of the PyTorch programs: the model, its data, the use of the machine, what is benchmarked, and serving."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark_core.options import (
    ModelOptions,
    Parser,
    TimedOptions,
    json_list,
    json_object,
    names_of,
    option,
    percent,
    positive,
    whole,
)

DTYPES = ("float", "float32", "tf32", "float16", "bfloat16", "int8")
DEVICES = ("auto", "cpu", "gpu", "cuda", "mps", "xpu")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
BACKENDS = ("caffe_lmdb", "image_folder")
BACKENDS_OF_REPLICAS = ("auto", "nccl", "gloo", "mpi", "ucc", "xccl")
LOADERS = ("threads", "processes")
CROPS = ("random_resized", "random_crop_mirror", "center")


@dataclass(frozen=True)
class CommonOptions(ModelOptions):
    """A model, its data, and how a machine is used."""

    architecture: str = option(
        "", "Python file that registers models in addition to those of pytorch_benchmarks.", metavar="FILE"
    )
    weights: str = option(
        "",
        "Trained weights: an entry (.json), a tensor file (.pt) or, outside containers, the name of an entry. If empty, random weights.",
        metavar="FILE",
    )
    batch_size: int = option(16, "Instances in one batch of one replica.", whole(1))
    num_gpus: int = option(
        1,
        "Number of GPUs, the first ones of CUDA_VISIBLE_DEVICES; 0 is the CPU. Two or more are never replaced by the CPU.",
        whole(0),
    )
    num_replicas: int = option(
        0, "Processes with one model replica each; 0 is one per GPU, or one on the CPU.", whole(0)
    )
    num_nodes: int = option(1, "Number of nodes; the program is started on each.", whole(1))
    node_rank: int = option(0, "Rank of this node, from 0; node 0 reports results.", whole(0))
    rendezvous: str = option(
        "", "Rendezvous address of the nodes: an address of node 0, and a free port.", metavar="HOST:PORT"
    )
    rendezvous_timeout: int = option(600, "Seconds that nodes wait for each other at the rendezvous.", whole(1))
    device: str = option(
        "auto",
        "Device that computes; gpu is any type that PyTorch finds (CUDA, ROCm, XPU, MPS), auto is that or else the CPU.",
        choices=DEVICES,
    )
    dist_backend: str = option(
        "auto",
        "Communication backend of replicas; auto selects nccl for CUDA and ROCm GPUs, xccl for XPUs, and gloo for CPUs.",
        choices=BACKENDS_OF_REPLICAS,
    )
    local_rank: int = option(
        -1,
        "Local rank of this process, as older launchers pass it (torch.distributed.launch); torchrun sets LOCAL_RANK instead. -1 is none.",
        whole(-1),
    )
    dtype: str = option(
        "float32",
        "Type of weights, inputs and arithmetic; float is float32. Types that PyTorch or the device does not support, such as int8, are skipped.",
        choices=DTYPES,
    )
    amp: bool = option(
        False,
        "Keep weights in float32 and compute in the given data type where that is safe (autocast; float16 gradients are scaled).",
    )
    compile: str = option(
        "",
        "Mode of torch.compile; if empty, the model is not compiled.",
        choices=("", *COMPILE_MODES),
        metavar="MODE",
        alone="default",
    )
    data_dir: str = option("", "Directory of a data set. If empty, synthetic data.", metavar="DIR")
    data_backend: str = option(
        "caffe_lmdb",
        "Format of the data set: caffe_lmdb is an LMDB of Caffe's Datum records, image_folder one directory of images per class.",
        choices=BACKENDS,
    )
    num_loader_threads: int = option(4, "Workers that read and decode data; 0 reads data between batches.", whole(0))
    data_loader: str = option(
        "auto",
        "Type of the workers that load data; auto selects processes for a GPU, threads for a CPU.",
        choices=("auto", *LOADERS),
    )
    crop: str = option(
        "auto",
        "Crop of an image that becomes the model's input; auto crops randomly for training and at the centre for inference.",
        choices=("auto", *CROPS),
    )
    max_image_pixels: int = option(
        100_000_000,
        "Maximum number of pixels (height times width) of an image. Larger images are errors, because a small file can claim any size.",
        whole(1),
    )
    num_threads: int = option(
        0, "Number of threads that compute on the CPU; 0 is PyTorch's default, one per core.", whole(0)
    )
    channels_last: bool = option(False, "Store images with channels last (NHWC), which makes many convolutions faster.")
    deterministic: bool = option(
        False, "Use only deterministic algorithms. This reduces speed, and disables cudnn_benchmark."
    )
    cudnn_benchmark: bool = option(
        True, "Let cuDNN time its convolution algorithms on the first batches and use the fastest."
    )
    cudnn_fastest: bool = option(
        False, "With cudnn_benchmark, let cuDNN try every algorithm, regardless of the workspace that it needs."
    )
    seed: int = option(1, "Random seed for weights, inputs and shuffling.", int)


@dataclass(frozen=True)
class ServingOptions(CommonOptions):
    """Options of one run, or one search, of MLPerf's load generator (LoadGen)."""

    serving: bool = option(False, "Measure the model under load from MLPerf's load generator (LoadGen).")
    serving_scenario: str = option(
        "single-stream",
        "Scenario of MLPerf Inference: sequential queries with one sample (single-stream) or several (multi-stream), queries that arrive at random (server), all samples at once (offline), or users who wait for their answers (concurrent).",
        choices=("single-stream", "multi-stream", "server", "offline", "concurrent"),
    )
    serving_target_qps: float = option(
        0.0,
        "Mean arrival rate in the server scenario, in queries per second. Other scenarios have no rate.",
        positive,
        metavar="QPS",
    )
    serving_target_latency: float = option(
        0.0, "Bound of the latency percentile in the server scenario, in milliseconds.", positive, metavar="MS"
    )
    serving_percentile: float = option(
        0.0,
        "Latency percentile that is evaluated, such as 99; 0 is the default of the scenario: 90 for single-stream, 99 for the others.",
        percent,
        metavar="PERCENT",
    )
    serving_min_duration: float = option(
        10.0, "Minimum duration of a run in seconds. A submission to MLPerf needs 600.", positive, metavar="SECONDS"
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
    serving_workers: int = option(0, "Batches that are processed in parallel; 0 is 1.", whole(0))
    serving_worker_kind: str = option(
        "threads",
        "Type of the workers: threads that share a model, or processes with one model each.",
        choices=("threads", "processes"),
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
        choices=("", "max_qps"),
        metavar="WHAT",
    )
    serving_find_start: float = option(
        0.0,
        "Rate where a search starts, in queries per second, such as the result of an earlier one; 0 starts from the throughput of the offline scenario.",
        positive,
        metavar="QPS",
    )
    serving_find_trials: int = option(15, "Maximum number of runs in a search.", whole(4))
    serving_find_precision: float = option(
        10.0,
        "Precision of a search, in percent of the rate: half the width of the interval. The search ends when its trials reach it; a warning is logged if they do not.",
        positive,
        metavar="PERCENT",
    )
    serving_url: str = option(
        "", "URL of a server that answers queries, instead of a model in this process.", metavar="URL"
    )
    serving_protocol: str = option(
        "completions",
        "Protocol of the server at the URL: OpenAI's completions or chat, or predict, which posts a JSON body and receives JSON.",
        choices=("completions", "chat", "predict"),
    )
    serving_body: str = option(
        "",
        "File that is posted to a predict endpoint for each query; if empty, JSON with the inputs of the model.",
        metavar="FILE",
    )
    serving_timeout: float = option(
        300.0,
        "Maximum seconds from a request to its complete answer; later, it has failed.",
        positive,
        metavar="SECONDS",
    )
    serving_users: int = option(
        8,
        "Servers: users of the concurrent scenario; each sends a request when the previous one is answered.",
        whole(1),
    )
    serving_prompts: str = option(
        "unique",
        "Servers: synthetic prompts are unique, repeat (serving.samples of them), or shared-prefix:TOKENS, unique after a common prefix.",
        metavar="KIND",
    )
    serving_turns: int = option(
        1,
        "Servers: turns of each synthetic conversation (chat); each turn is sent when the previous one is answered.",
        whole(1),
    )
    serving_data: str = option(
        "",
        "Servers: file with requests: JSON Lines with prompts or messages, a list of ShareGPT conversations, or a trace with lengths. If empty, synthetic prompts.",
        metavar="FILE",
    )
    serving_arrivals: str = option(
        "poisson",
        "Servers: arrivals in the server scenario: poisson, constant, gamma:SHAPE (bursts below 1), ramp:FACTOR, or trace, the time stamps of the data.",
        metavar="KIND",
    )
    serving_max_concurrency: int = option(
        0,
        "Servers: maximum number of requests at the same time; further ones wait in the client. 0 is no limit.",
        whole(0),
    )
    serving_max_error_rate: float = option(
        10.0,
        "Servers: percentage of failed requests above which the run ends; rejected requests do not count.",
        positive,
        metavar="PERCENT",
    )
    serving_retries: int = option(
        0, "Servers: number of times that a failed request is sent again; its latency includes all attempts.", whole(0)
    )
    serving_stream: bool = option(True, "Servers: stream answers, which shows when their tokens arrive.")
    serving_ignore_eos: bool = option(
        True, "Servers: ask for answers of exactly the requested length, with a field that vLLM and SGLang know."
    )
    serving_key_variable: str = option(
        "",
        "Servers: name of the environment variable with the API key, which is sent as a bearer token and never written.",
        metavar="NAME",
    )
    serving_headers: dict[str, Any] = option(  # noqa: RUF009
        {}, "Servers: additional headers of requests, as a JSON object.", json_object, metavar="JSON"
    )
    serving_extra_body: dict[str, Any] = option(  # noqa: RUF009
        {},
        "Servers: additional fields of requests, as a JSON object; null removes a field.",
        json_object,
        metavar="JSON",
    )
    serving_goodput: str = option(
        "",
        "Servers: bounds in milliseconds that a request must meet together to count as goodput, such as ttft:200,tpot:12,e2e:2000.",
        metavar="BOUNDS",
    )
    serving_tokenizer: str = option(
        "",
        "Servers: file tokenizer.json, or its directory, that counts the tokens of answers; if empty, the server counts.",
        metavar="FILE",
    )
    serving_clients: int = option(
        0, "Servers: processes that send requests; 0 is one for every four CPUs, at most 4.", whole(0)
    )
    serving_requests: str = option(
        "", "Servers: file for the times, tokens and status of each request, as JSON Lines.", metavar="FILE"
    )
    serving_command: str = option(
        "", "Command that starts the server at the URL before the run; it is ended afterwards.", metavar="COMMAND"
    )
    serving_ready_timeout: float = option(
        600.0, "Seconds to wait until the server of serving.command is ready.", positive, metavar="SECONDS"
    )
    serving_server_log: str = option("", "File for the output of the server of serving.command.", metavar="FILE")
    serving_log_dir: str = option("", "Directory for LoadGen's logs.", metavar="DIR")
    serving_keep_trace: bool = option(False, "Also keep LoadGen's trace, which has an entry for each query.")


SYNTHETIC = ("synthetic/device", "synthetic/pinned", "synthetic/pageable")
PASSES = ("memory", "flops")


@dataclass(frozen=True)
class BenchmarkOptions(TimedOptions, ServingOptions):
    """Options of one benchmark. `num_warmup_batches` is None for `auto`."""

    sync: str = option(
        "each",
        "When to wait for the device: before and after each batch, or once at the end, as training loops do.",
        choices=("each", "end"),
    )
    cuda_graphs: bool = option(False, "Capture the work of a batch as a CUDA graph and replay it.")
    data: str = option(
        "auto",
        "Source of the data: synthetic in device memory (synthetic, synthetic/device) or in host memory (synthetic/pinned, synthetic/pageable); auto reads data_dir, or is synthetic if that is empty.",
        choices=("auto", "synthetic", *SYNTHETIC),
    )
    data_shuffle: bool = option(False, "Read instances in random order, a new one in each epoch.")
    data_loader_only: bool = option(False, "Time only the loading of data, without a model.")
    passes: tuple[str, ...] = option(
        PASSES,
        "Measurements after the timed batches, each on a separate batch: memory, flops, both, or none.",
        names_of(PASSES),
        metavar="NAMES",
    )
    peak_tflops: float = option(
        0.0,
        "Peak of the device in this precision, in 10^12 operations per second, to compute its utilisation; 0 takes it from a table.",
        positive,
        metavar="TFLOPS",
    )
    profile: str = option("", "File for a Chrome trace of three batches that run after the timed ones.", metavar="FILE")
    pack: str = option(
        "", "Directory with a class Model(BenchmarkModel), which has its own data and steps.", metavar="DIR"
    )
    pack_loader: str = option(
        "",
        "File whose function pack_workload loads the pack's model, one of a suite of DLBS or your own.",
        metavar="FILE",
    )
    pack_args: tuple[str, ...] = option((), "Arguments of the pack's model, as a JSON list.", json_list, metavar="JSON")
    own_batch: bool = option(False, "Use the default batch size of the pack's model.")
    jit: bool = option(False, "Let the pack's model script itself (TorchScript).")

    def flags(self) -> dict[str, Any]:
        """Every option with its value; those of serving only when serving."""
        given = super().flags()
        return given if self.serving else {name: given[name] for name in given if not name.startswith("serving")}


def parse_benchmark_options(arguments: Sequence[str] | None = None) -> BenchmarkOptions:
    """Parse a command line; an invalid argument prints one line and exits with code 2."""
    parser = Parser(
        BenchmarkOptions,
        prog="benchmarks.py",
        description="Benchmark a PyTorch model: warm up, time batches, print results as `__key__= json` lines.",
        example="--model resnet18 --forward_only true --batch_size 32 --dtype bfloat16",
        common=(CommonOptions, "benchmarks.py and train.py"),
    )
    parsed = parser.parse_args(arguments)
    if parsed.pack and not parsed.model:
        parsed.model = os.path.basename(os.path.abspath(parsed.pack))
    if parsed.pack and not parsed.pack_loader:
        parser.error("--pack needs --pack_loader, the file that loads its model; dlbs passes that of the suite")
    if not parsed.model:
        parser.error("--model is required, such as --model alexnet")
    return BenchmarkOptions(**vars(parsed))
