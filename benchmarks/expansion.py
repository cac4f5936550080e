"""Speed of plan expansion, compared with a handwritten Python function for the same derived values.

    python benchmarks/expansion.py [--sizes 100 10000 100000]

Two workloads: (a) 32 parameters, 27 of them derived, five variables; (b) the whole default configuration, five variables.
Each row runs in a new process, so that nothing is cached from the previous row. `build + resolve` is the work of `dlbs run`
before launching; `random` is the same with `--order random`, which keeps the plan in memory, so not for the largest ones; `to file` streams the resolved plan to disk as `dlbs build --resolve` does, and its memory is the growth of
the process's resident memory from the first thousand experiments to the last. Each row first checks that both sides
compute the same values.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dlbs.config.config import Config, Setting
from dlbs.config.load import load_config
from dlbs.core.files import dlbs_root
from dlbs.plan.build import build
from dlbs.plan.files import write_plan
from dlbs.plan.pipeline import processor_for, resolved_in_order

MODELS = ["alexnet", "resnet50", "vgg16", "googlenet"]
BATCHES = [1, 2, 4, 8, 16]
GPUS = ["", "0", "0,1", "0,1,2,3", "0:1,2:3"]
DTYPES = ["float32", "float16"]
MOST_SHUFFLED = 10_000  # experiments, which are kept in memory
Values = dict[str, Any]


def seeds(experiments: int) -> list[int]:
    return list(range(math.ceil(experiments / (len(MODELS) * len(BATCHES) * len(GPUS) * len(DTYPES)))))


# Workload (a)

DERIVED = {
    "effective": "$(${batch} * ${replicas})$",
    "replicas": "$(max(1, len('${gpus}'.split(','))))$",
    "device": "$('gpu' if '${gpus}' else 'cpu')$",
    "phase_flag": "--phase=training",
    "title": "${model} on ${device}",
    "name": "${model}_${device}_b${batch}_${dtype}",
    "image": "bench/${device}:${version}",
    "version": "23.10",
    "forward_only": "$('true' if '${phase_flag}' == '--phase=inference' else 'false')$",
    "model_flag": "--model=${model}",
    "batch_flag": "--batch_size=${batch}",
    "gpus_flag": "$('--gpus=${gpus}' if '${gpus}' else '')$",
    "dtype_flag": "--dtype=${dtype}",
    "seed_flag": "--seed=${seed}",
    "warmup": "$(10 if '${device}' == 'gpu' else 2)$",
    "batches": "$(${warmup} * 10)$",
    "batches_flag": "--num_batches=${batches}",
    "warmup_flag": "--num_warmup_batches=${warmup}",
    "args": ["${model_flag}", "${batch_flag}", "${gpus_flag}", "${dtype_flag}", "${seed_flag}", "${batches_flag}"],
    "command": "python benchmarks.py ${args} ${warmup_flag}",
    "directory": "logs/${model}/${device}",
    "log": "${directory}/${name}_s${seed}.log",
    "script": "${log}.sh",
    "half": "$('${dtype}' in ('float16', 'bfloat16'))$",
    "upper": "$('${model}'.upper())$",
    "family": "$(re.sub('[0-9]+', '', '${model}'))$",
    "label": "$('${title} (half)' if ${half} else '${title}')$",
}


def config_a(experiments: int) -> Config:
    config = Config()
    config.settings = {name: Setting(value, "benchmark") for name, value in DERIVED.items()}
    config.variables = {"model": MODELS, "batch": BATCHES, "gpus": GPUS, "dtype": DTYPES, "seed": seeds(experiments)}
    return config


def by_hand_a(model: str, batch: int, gpus: str, dtype: str, seed: int) -> Values:
    replicas = max(1, len(gpus.split(",")))
    device = "gpu" if gpus else "cpu"
    phase_flag = "--phase=training"
    version = "23.10"
    warmup = 10 if device == "gpu" else 2
    batches = warmup * 10
    title = f"{model} on {device}"
    name = f"{model}_{device}_b{batch}_{dtype}"
    args = [
        f"--model={model}",
        f"--batch_size={batch}",
        f"--gpus={gpus}" if gpus else "",
        f"--dtype={dtype}",
        f"--seed={seed}",
        f"--num_batches={batches}",
    ]
    warmup_flag = f"--num_warmup_batches={warmup}"
    directory = f"logs/{model}/{device}"
    log = f"{directory}/{name}_s{seed}.log"
    half = dtype in ("float16", "bfloat16")
    return {
        "model": model,
        "batch": batch,
        "gpus": gpus,
        "dtype": dtype,
        "seed": seed,
        "effective": batch * replicas,
        "replicas": replicas,
        "device": device,
        "phase_flag": phase_flag,
        "title": title,
        "name": name,
        "image": f"bench/{device}:{version}",
        "version": version,
        "forward_only": "true" if phase_flag == "--phase=inference" else "false",
        "model_flag": args[0],
        "batch_flag": args[1],
        "gpus_flag": args[2],
        "dtype_flag": args[3],
        "seed_flag": args[4],
        "warmup": warmup,
        "batches": batches,
        "batches_flag": args[5],
        "warmup_flag": warmup_flag,
        "args": args,
        "command": f"python benchmarks.py {' '.join(args)} {warmup_flag}",
        "directory": directory,
        "log": log,
        "script": f"{log}.sh",
        "half": half,
        "upper": model.upper(),
        "family": re.sub("[0-9]+", "", model),
        "label": f"{title} (half)" if half else title,
    }


# Workload (b)

NAMES_B = ["exp.model", "exp.replica_batch", "exp.gpus", "exp.dtype", "exp.seed"]


def config_b(experiments: int) -> Config:
    config = load_config(parameters=["exp.docker=false"])
    for name, values in zip(NAMES_B, [MODELS, BATCHES, GPUS, DTYPES, seeds(experiments)], strict=True):
        config.variables[name] = values
    return config


def by_hand_b(config: Config, environ: dict[str, str]) -> Callable[..., Values]:
    """The derived values of the default configuration that depend on the variables; constants are passed."""
    constant = processor_for(config).resolve_uncached(next(build(config)))
    root = environ["DLBS_ROOT"]
    encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
    hidden = {name for name, parameter in config.declarations.items() if not parameter.identity}
    identity = sorted(name for name in constant if name not in hidden)
    names = ",".join(identity)

    def compute(model: str, batch: int, gpus: str, dtype: str, seed: int) -> Values:
        local_gpus = len(re.findall("[0-9]+", gpus))
        local_replicas = max(1, len(re.findall("[0-9:]+", gpus)))
        device = "gpu" if gpus else "cpu"
        values = constant.copy()
        values["exp.model"] = model
        values["exp.replica_batch"] = batch
        values["exp.gpus"] = values["exp.gpu_ids"] = gpus
        values["exp.dtype"] = dtype
        values["exp.seed"] = seed
        values["exp.model_title"] = model
        values["exp.num_local_gpus"] = local_gpus
        values["exp.num_local_replicas"] = local_replicas
        values["exp.num_gpus"] = local_gpus * values["exp.num_nodes"]
        values["exp.num_replicas"] = replicas = local_replicas * values["exp.num_nodes"]
        values["exp.effective_batch"] = batch * replicas
        values["exp.device_type"] = device
        values["pytorch.docker_image"] = f"dlbs/pytorch:{device}"
        docker, data_dir = values["exp.docker"], values["pytorch.data_dir"]
        architecture, weights = values["pytorch.architecture"], values["pytorch.weights"]
        values["pytorch.common_options"] = {
            "model": model,
            "model_opts": values["exp.model_opts"],
            "batch_size": batch,
            "num_gpus": local_gpus,
            "num_replicas": local_replicas,
            "device": device,
            "dtype": dtype,
            "seed": seed,
            "architecture": f"/workspace/architecture/{os.path.basename(architecture)}"
            if docker and architecture
            else architecture,
            "weights": f"/workspace/weights/{os.path.basename(weights)}" if docker and weights else weights,
            "data_dir": "/workspace/data" if docker and data_dir else data_dir,
            "dist_backend": values["pytorch.dist_backend"],
            "amp": values["pytorch.amp"],
            "compile": values["pytorch.compile"],
            "num_loader_threads": values["pytorch.num_loader_threads"],
            "data_loader": values["pytorch.data_loader"],
            "crop": values["pytorch.crop"],
            "max_image_pixels": values["pytorch.max_image_pixels"],
            "num_threads": values["pytorch.num_threads"],
            "channels_last": values["pytorch.channels_last"],
            "deterministic": values["pytorch.deterministic"],
            "cudnn_benchmark": values["pytorch.cudnn_benchmark"],
            "cudnn_fastest": values["pytorch.cudnn_fastest"],
        }
        values["pytorch.options"] = {
            "forward_only": values["exp.phase"] == "inference",
            "data_loader_only": values["exp.phase"] == "ingestion",
            "serving": values["exp.phase"] == "serving",
            "num_batches": values["exp.num_batches"],
            "num_warmup_batches": values["exp.num_warmup_batches"],
            "data_backend": values["pytorch.data_backend"],
            "min_time": values["pytorch.min_time"],
            "sync": values["pytorch.sync"],
            "cuda_graphs": values["pytorch.cuda_graphs"],
            "data": values["pytorch.data"],
            "data_shuffle": values["pytorch.data_shuffle"],
            "passes": values["pytorch.passes"],
            "peak_tflops": values["pytorch.peak_tflops"],
            "profile": values["pytorch.profile"],
        }
        values["pytorch.bench_path"] = f"{root}/python" if not docker else "/workspace"
        encoded = "\n".join([encode(values[name]) for name in identity])
        values["exp.id"] = digest = hashlib.blake2b(f"{names}\n{encoded}".encode(), digest_size=8).hexdigest()
        title = re.sub("[^A-Za-z0-9._-]", "-", f"{values['exp.framework']}_{model}_{values['exp.phase']}_b{batch}")
        values["exp.log_file"] = f"{values['exp.log_dir']}/{title}_{digest}.log"
        return values

    return compute


# Measuring


def points(experiments: int) -> Iterator[tuple[Any, ...]]:
    return itertools.islice(itertools.product(MODELS, BATCHES, GPUS, DTYPES, seeds(experiments)), experiments)


def row(workload: str, experiments: int) -> dict[str, float | None]:
    environ = dict(os.environ, DLBS_ROOT=str(dlbs_root()), DLBS_PYTHON="python3")
    os.environ.update(environ)
    config = config_a(experiments) if workload == "a" else config_b(experiments)
    by_hand = by_hand_a if workload == "a" else by_hand_b(config, environ)
    processor = processor_for(config)
    for experiment, point in itertools.islice(zip(build(config), points(experiments), strict=False), 0, 400, 7):
        ours, theirs = processor.resolve(experiment), by_hand(*point)
        assert ours == theirs, {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    best_hand = best_ours = best_random = math.inf
    for _ in range(
        3 if experiments > 1000 else 20
    ):  # the best of a few alternating runs, since other load only adds time
        start = time.perf_counter()
        for point in points(experiments):
            by_hand(*point)
        best_hand = min(best_hand, time.perf_counter() - start)
        processor = processor_for(config)
        start = time.perf_counter()
        for experiment in itertools.islice(build(config), experiments):
            processor.resolve(experiment)
        best_ours = min(best_ours, time.perf_counter() - start)
        if experiments <= MOST_SHUFFLED:
            start = time.perf_counter()
            for _ in resolved_in_order(config, itertools.islice(build(config), experiments), "random", 1):
                pass
            best_random = min(best_random, time.perf_counter() - start)

    processor = processor_for(config)
    resident = psutil.Process().memory_info
    before = 0

    def stream() -> Iterator[Values]:
        nonlocal before
        for number, experiment in enumerate(itertools.islice(build(config), experiments)):
            if number == min(1000, experiments // 2):
                before = resident().rss
            yield processor.resolve(experiment)

    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        write_plan(Path(directory) / "plan.jsonl", stream())
        to_file = time.perf_counter() - start
    growth = (resident().rss - before) / experiments
    scale = 1e6 / experiments
    return {
        "by_hand": best_hand * scale,
        "ours": best_ours * scale,
        "ratio": best_ours / best_hand,
        "random": best_random * scale if experiments <= MOST_SHUFFLED else None,
        "to_file": to_file * scale,
        "growth": growth,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000, 100_000])
    arguments.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.row:
        print(json.dumps(row(options.row[0], int(options.row[1]))))
        return
    print("µs per experiment                by hand   build + resolve   ratio   random   to file   memory growth")
    for workload in "ab":
        for size in options.sizes:
            made = subprocess.run(
                [sys.executable, __file__, "--row", workload, str(size)], check=True, stdout=subprocess.PIPE, text=True
            )
            figures = json.loads(made.stdout)
            shuffled = f"{figures['random']:.1f}" if figures["random"] is not None else "-"
            print(
                f"({workload}) {size:>9,} experiments {figures['by_hand']:>14.1f} {figures['ours']:>17.1f} "
                f"{figures['ratio']:>7.2f} {shuffled:>8} {figures['to_file']:>9.1f} {figures['growth']:>9.0f} B each"
            )


if __name__ == "__main__":
    main()
