"""Check names of parameters: in DLBS's namespaces they must be declared, elsewhere any name is allowed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from dlbs.config.config import Config, split_names
from dlbs.errors import ConfigError, Problems, did_you_mean
from dlbs.experiment import check_name

__all__ = ["OPEN", "check_all_names", "check_names", "name_hint", "our_word"]

_log = logging.getLogger("dlbs")

OPEN = ("runtime.env.", "slurm.", "voir.", "exp.sys.")  # DLBS's namespaces in which any name is allowed

# Names in other tools, and likely guesses.
_WORDS = {
    "amp": "pytorch.amp",
    "architecture": "pytorch.architecture",
    "arch": "exp.model",
    "batch": "exp.replica_batch",
    "batch_size": "exp.replica_batch",
    "batchsize": "exp.replica_batch",
    "bs": "exp.replica_batch",
    "bf16": "exp.dtype=bfloat16",
    "bfloat16": "exp.dtype=bfloat16",
    "benchmark": "exp.model",
    "container": "exp.docker",
    "cpus": "runtime.cpus",
    "cuda": "exp.gpus",
    "data_path": "pytorch.data_dir",
    "dataset": "pytorch.data_dir",
    "device": "exp.gpus",
    "device_batch": "exp.replica_batch",
    "devices": "exp.gpus",
    "epoch": "train.epochs",
    "env": "runtime.env.NAME",
    "float16": "exp.dtype=float16",
    "fp16": "exp.dtype=float16",
    "fp32": "exp.dtype=float32",
    "global_batch": "exp.effective_batch",
    "gpu": "exp.gpus",
    "half": "exp.dtype=float16",
    "image": "exp.docker_image",
    "iterations": "exp.num_batches",
    "iters": "exp.num_batches",
    "jit": "pytorch.compile",
    "learning_rate": "train.lr",
    "log": "exp.log_file",
    "mode": "exp.phase",
    "model_name": "exp.model",
    "name": "exp.model",
    "network": "exp.model",
    "nodes": "exp.nodes",
    "num_epochs": "train.epochs",
    "num_iterations": "exp.num_batches",
    "num_iters": "exp.num_batches",
    "num_steps": "exp.num_batches",
    "num_workers": "pytorch.num_loader_threads",
    "output": "exp.log_dir",
    "output_dir": "exp.log_dir",
    "precision": "exp.dtype",
    "python": "runtime.python",
    "repetitions": "exp.repeats",
    "rounds": "exp.repeats",
    "runs": "exp.repeats",
    "steps": "exp.num_batches",
    "threads": "pytorch.num_threads",
    "tf32": "exp.dtype=tf32",
    "type": "exp.dtype",
    "warmup": "exp.num_warmup_batches",
    "warmup_batches": "exp.num_warmup_batches",
    "warmup_steps": "exp.num_warmup_batches",
    "workers": "pytorch.num_loader_threads",
}


# Names of the original that are accepted with a warning, since they are exact synonyms.
_ACCEPTED = {"monitor.frequency"}


def our_word(name: str, known: Iterable[str]) -> str:
    """Suggest names for a word of another tool, or for a parameter's last part alone: `did you mean 'exp.dtype'?`; may be empty."""
    last = name.lower().replace("-", "_").rpartition(".")[2]
    words = [_WORDS[last]] if last in _WORDS else sorted({one for one in known if one.rpartition(".")[2] == last})
    return "did you mean " + " or ".join(map(repr, words[:3])) + "?" if words else ""


def name_hint(name: str, known: Iterable[str]) -> str:
    """Suggest replacements of an unknown name: the parameter of that meaning, or the closest names; may be empty."""
    known = list(known)
    return our_word(name, known) or did_you_mean(name, known)


def check_names(config: Config, names: Iterable[str], where: str) -> None:
    """Raise a ConfigError if a name is malformed, or unknown in one of DLBS's namespaces."""
    for name in names:
        check_name(name, where)
        if name in config.declarations or name.startswith(OPEN) or name.partition(".")[0] not in config.namespaces:
            continue
        own = f"to add your own parameter, declare it with a 'desc', or name it outside {name.partition('.')[0]}.*"
        close = name_hint(name, config.declarations)
        if close and not our_word(name, config.declarations):  # the closest names may differ much
            close += f" To add your own parameter, name it outside {name.partition('.')[0]}.*, or declare it with a 'desc' in a file"
        from dlbs.config.migration import migration_hint

        hint = migration_hint(name) or close
        raise ConfigError(f"unknown parameter {name!r}", where=where, hint=hint or own)


def check_all_names(config: Config, problems: Problems) -> None:
    """Find all malformed or unknown names in a configuration."""
    for name, where in _given(config):
        with problems:
            check_names(config, [name], where)
            if name in _ACCEPTED:
                from dlbs.config.migration import migration_hint

                _log.warning("%s: %s", where, migration_hint(name))
            if name == "exp.repeat":
                raise ConfigError(
                    "exp.repeat is set by the plan builder",
                    where=where,
                    hint="exp.repeats=5 makes five runs of each experiment",
                )


def _given(config: Config) -> Iterator[tuple[str, str]]:
    """Each name that is set, and its place."""
    for name, setting in config.settings.items():
        if not config.is_shipped(name):
            yield name, setting.where
    for key, where in config.variable_origins.items():
        for name in split_names(key):
            yield name, where
    for extension in config.extensions:
        for parameters in (extension.parameters, *extension.cases):
            for name in parameters:
                yield name, extension.where
