"""Table of names, values and expressions of the original DLBS (HewlettPackard/dlcookbook-dlbs) and their equivalents.

Hints of errors, `dlbs migrate` and docs/migrating.md use it. Names with the same meaning in both are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlbs.text import text, truth

__all__ = [
    "EXPRESSIONS",
    "FRAMEWORKS",
    "NAMES",
    "Former",
    "FormerExpression",
    "expression_hint",
    "former",
    "framework_hint",
    "migration_hint",
    "value_hint",
]


@dataclass(frozen=True, slots=True)
class Former:
    """A parameter of the original, and its replacement.

    Attributes:
        name: Its name in the original; a final `*` matches any rest.
        new: The parameter with its meaning; empty if there is none.
        why: A sentence that explains more than the names.
        values: Text of a value → the parameters to set instead, or None if it has no equivalent. Other values are unchanged.
        words: As `values`, for the words of a list; a word may have no replacement.
        omit: It can be removed: it is always on, or was a detail of the original's scripts.
        own: It only described the experiment: declare it, or give it a name outside the shipped namespaces.
        reference: The replacement of `${name}`, if `new` does not apply to every value.
    """

    name: str
    new: str = ""
    why: str = ""
    values: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    words: Mapping[str, str | None] = field(default_factory=dict)
    omit: bool = False
    own: bool = False
    reference: str = ""

    def has(self, value: Any) -> bool:
        """Whether a value has changed its meaning, or has none."""
        return self._word(value) in self.values

    def meaning(self, value: Any) -> Mapping[str, Any] | None:
        """The parameters to set for a value that `has` accepts; None if it has no equivalent."""
        return self.values[self._word(value)]

    def _word(self, value: Any) -> str:
        """The text of a value, normalised if it is a boolean (`t`, `on`, 1)."""
        word = text(value)
        meant = truth(value) if {"true", "false"} <= self.values.keys() and word not in self.values else None
        return word if meant is None else text(meant)

    @property
    def hint(self) -> str:
        """The replacement, as a sentence without its full stop."""
        said = f"{self.name} is now {self.new}" if self.new and self.new != self.name else ""
        if not self.new:
            meanings = {value: _settings(meant) for value, meant in self.values.items() if meant}
            if not any(settings in self.why for settings in meanings.values()):
                said = ", ".join(f"{self.name}={value} is now {settings}" for value, settings in meanings.items())
        if self.own:
            said = (
                f"DLBS does not read {self.name}; declare it with a 'desc', or rename it outside the shipped namespaces"
            )
        elif not said and not self.why and self.omit:
            said = f"remove {self.name}"
        return ": ".join(filter(None, (said, self.why)))


@dataclass(frozen=True, slots=True)
class FormerExpression:
    """A construct of the original's expressions, and its replacement.

    Attributes:
        shown: Its name in the manual.
        pattern: A regular expression that finds it.
        say: The advice.
        becomes: The replacement, if it means exactly the same; None if the user has to decide.
        differs: Whether it is still valid, but means something else.
    """

    shown: str
    pattern: str
    say: str
    becomes: str | None = None
    differs: bool = False


_RERUN: dict[str, Mapping[str, Any] | None] = {"true": {"exp.rerun": "always"}, "false": {"exp.rerun": "never"}}
_TENSOR_CORES = "exp.dtype (float16, bfloat16, tf32) determines whether tensor cores are used"
_LAUNCHER = "put the command into runtime.launcher"

NAMES = (
    Former("exp.status", values={"disabled": {"exp.status": "inactive"}, "ok": {"exp.status": ""}}),
    Former("exp.rerun", values=_RERUN, why="onfail repeats failed experiments"),
    Former("exp.proj", "exp.project"),
    Former("exp.framework_ver", "exp.framework_version"),
    Former(
        "exp.framework_family",
        why="exp.framework alone determines the launcher and the parameters; copy F.launcher if two frameworks share one",
        values={"${exp.framework}": {}},
        reference="exp.framework",
    ),
    Former("exp.framework_commit", own=True),
    Former(
        "exp.data_dir",
        "pytorch.data_dir",
        "each framework has its own directory; this is that of pytorch and train",
        values={"${${exp.framework_family}.data_dir}": {}, "${pytorch.data_dir}": {}},
        reference="pytorch.data_dir",
    ),
    Former(
        "exp.data",
        why="the benchmark detects it; pytorch.data is the location of synthetic data, pytorch.data_dir the directory of real data",
        values={
            "synthetic": {},
            "real": {},
            "synthetic/device": {"pytorch.data": "synthetic/device"},
            "synthetic/pinned": {"pytorch.data": "synthetic/pinned"},
            "synthetic/pageable": {"pytorch.data": "synthetic/pageable"},
        },
    ),
    Former("exp.data_store", own=True),
    Former("exp.use_tensor_core", why=_TENSOR_CORES, values={"true": {}, "false": None}),
    Former("exp.enable_tensor_core", why=_TENSOR_CORES, values={"true": {}, "false": None}),
    Former("exp.cuda", own=True, why="the benchmark logs the version as exp.env.cuda"),
    Former("exp.cudnn", own=True, why="the benchmark logs the version as exp.env.cudnn"),
    Former("exp.node_nic", own=True),
    Former(
        "exp.docker_launcher",
        why="docker itself passes GPUs to containers",
        values={"nvidia-docker": {"exp.docker_launcher": "docker"}},
    ),
    Former(
        "exp.singularity*",
        why="containers are started by docker, or by a program that accepts its arguments (exp.docker_launcher)",
    ),
    Former(
        "exp.sys_info",
        words={
            "cpuinfo": "cpu",
            "lscpu": "cpu",
            "meminfo": "memory",
            "nvidiasmi": "gpu",
            "dmi": None,
            "inxi": None,
        },
        why="the output of inxi and dmi is not collected",
    ),
    Former("monitor.frequency", "monitor.interval", "seconds between two samples, as in the original"),
    Former("monitor.timeseries", omit=True, why="all series are always logged, as results.use.*"),
    Former("monitor.launcher", omit=True, why="the monitor is part of dlbs run"),
    Former("monitor.backend_pid_folder", omit=True, why="it is derived from monitor.pid_folder"),
    Former(
        "resource_monitor.*", why="monitor.interval, seconds between two samples, enables the monitor; 0 disables it"
    ),
    Former("runtime.EXPORT_*", omit=True, why="every launcher sets CUDA_VISIBLE_DEVICES and CUDA_CACHE_PATH"),
    Former("runtime.visible_gpus", omit=True, why="CUDA_VISIBLE_DEVICES is derived from exp.gpus"),
    Former("runtime.bind_proc", why=_LAUNCHER),
    Former("runtime.limit_resources", why=_LAUNCHER),
    Former(
        "pytorch.data_loader_only",
        why="exp.phase=ingestion enables it",
        values={"true": {"exp.phase": "ingestion"}, "false": {}},
    ),
    Former("pytorch.distributed_rank", "exp.node_rank", "each node runs the same command with its own rank"),
    Former("pytorch.distributed_rendezvous", "exp.rendezvous", "the address of node 0, as HOST:PORT"),
    Former(
        "pytorch.distributed_*",
        why="torchrun assigns ranks and connects the processes: see --nodes, exp.node_rank and exp.rendezvous",
    ),
    Former(
        "sys.plan_builder.method",
        values={"cartesian_product": {}},
        why="the product of the variables is the only method",
    ),
    # Early versions of the original
    Former(
        "exp.framework_id",
        values={"${exp.framework}": {}},
        reference="exp.framework",
        why="exp.framework has the same meaning",
    ),
    Former("exp.device_batch", "exp.replica_batch"),
    Former("exp.bench_iters", "exp.num_batches"),
    Former("exp.warmup_iters", "exp.num_warmup_batches"),
    Former("exp.device", "exp.device_type", "exp.gpus selects GPUs"),
    Former(
        "exp.env",
        why="exp.docker determines whether a container is used",
        values={"docker": {"exp.docker": True}, "host": {"exp.docker": False}},
    ),
    Former(
        "exp.simulation",
        why="exp.status=simulate enables it",
        values={"true": {"exp.status": "simulate"}, "false": {}},
    ),
    Former("exp.force_rerun", why="exp.rerun=always enables it", values=_RERUN),
    Former("exp.bench_root", own=True),
    Former("exp.docker.launcher", "exp.docker_launcher", values={"nvidia-docker": {"exp.docker_launcher": "docker"}}),
    Former("exp.docker.image", "exp.docker_image"),
    Former("exp.docker.args", "exp.docker_args"),
)

# Frameworks of the original, and caffe.*, which belonged to all three variants of Caffe.
FRAMEWORKS = (
    "bvlc_caffe",
    "caffe",
    "caffe2",
    "intel_caffe",
    "mxnet",
    "nvcnn",
    "nvidia_caffe",
    "nvtfcnn",
    "openvino",
    "tensorflow",
    "tensorrt",
)

_NAME = r"(?P<quote>['\"])(?P<name>\w+)(?P=quote)"

EXPRESSIONS = (
    FormerExpression("`uuid.uuid4().__str__()`", r"uuid\.uuid4\(\)\.__str__\(\)", "write uuid4()", "uuid4()"),
    FormerExpression("`str(uuid.uuid4())`", r"\bstr\(uuid\.uuid4\(\)\)", "write uuid4()", "uuid4()"),
    FormerExpression(
        "`uuid.uuid4().hex`", r"uuid\.uuid4\(\)\.hex\b", "write uuid4().replace('-', '')", "uuid4().replace('-', '')"
    ),
    FormerExpression("`os.environ['NAME']`", rf"os\.environ\[{_NAME}\]", "write env('NAME')", r"env('\g<name>')"),
    FormerExpression(
        "`os.environ.get('NAME', x)`",
        rf"os\.(?:environ\.get|getenv)\({_NAME}\s*,",
        "write env('NAME', x)",
        r"env('\g<name>',",
    ),
    FormerExpression(
        "`os.environ.get('NAME')`",
        rf"os\.(?:environ\.get|getenv)\({_NAME}\s*\)",
        "write env('NAME', None)",
        r"env('\g<name>', None)",
    ),
    FormerExpression(
        "other uses of `os.environ`",
        r"os\.(environ|getenv)\b",
        "write env('NAME', default), or ${NAME} outside of expressions",
    ),
    FormerExpression("`sys.executable`", r"\bsys\.executable\b", "write '${DLBS_PYTHON}'", "'${DLBS_PYTHON}'"),
    FormerExpression(
        "f-strings",
        r"(?<![\w'\"])[rR]?[fF][rR]?(?=['\"])",
        "references work in any string: write '${exp.model}_x' without the f",
    ),
    FormerExpression(
        "`.format()`",
        r"\.format\(",
        "put references into the string itself, or write '%s' % value: a format string could read any attribute",
    ),
    FormerExpression(
        "`lambda`, `map`, `filter`", r"\blambda\b|\b(map|filter)\(", "write a comprehension: [x + 1 for x in ...]"
    ),
    FormerExpression(
        "`'${exp.docker}' == 'True'`",
        r"(['\"])\$\{[^{}]+\}\1\s*[=!]=\s*(['\"])(True|False)\2",
        "the text of a boolean is now true or false: compare the value, ${exp.docker} is True",
        differs=True,
    ),
    FormerExpression("`os.path.expanduser('~')`", r"os\.path\.expanduser\b", "write ${HOME}"),
    FormerExpression(
        "`datetime`, `time`, `random`",
        r"\b(datetime|time|random)\.\w+",
        "expressions are deterministic: pass the value with -P or in an environment variable",
    ),
    FormerExpression(
        "`open`, `os.popen`, `subprocess`",
        r"\bopen\(|\bos\.(popen|system)\b|\bsubprocess\b|__import__",
        "expressions cannot start programs or read files: pass the value with -P or in an environment variable",
    ),
)


def former(name: str) -> Former | None:
    """The row of a name of the original; None if there is none."""
    for row in NAMES:
        if row.name == name or (row.name.endswith("*") and name.startswith(row.name[:-1])):
            return row
    return None


def migration_hint(name: str) -> str:
    """The replacement of a parameter that only the original had; empty for other names."""
    row = former(name)
    return "" if row is None else row.hint


def framework_hint(name: str) -> str:
    """The hint for a framework that only the original had, or for a parameter of one; empty for others."""
    framework, _, parameter = name.partition(".")
    if framework not in FRAMEWORKS:
        return ""
    what_to_do = f"set {name}, or remove it" if parameter else "docs/launchers.md describes how to add it"
    return f"the original's framework {framework} is not included in DLBS: {what_to_do}"


def value_hint(name: str, value: Any) -> str:
    """The replacement of a value that has changed its meaning or has none; empty if it means the same as in the original."""
    row = former(name)
    if row is None:
        return ""
    words = [word for word in re.split(r"[,\s]+", text(value)) if word in row.words]
    if words:
        new = dict.fromkeys(row.words[word] or "" for word in words)
        return f"{name}={','.join(words)} is now {name}={','.join(filter(None, new))}" + (
            f"; {row.why}" if row.why else ""
        )
    if not row.has(value):
        return ""
    meant = row.meaning(value)
    if meant is None:
        return row.why
    return f"{name}={text(value)} is now {_settings(meant)}" if meant else ""


def _settings(meant: Mapping[str, Any]) -> str:
    return " ".join(f"{new}={text(becomes)}" for new, becomes in meant.items())


def expression_hint(value: Any) -> str:
    """The advice for a construct that only the original's expressions allow; empty if a value has none."""
    if not isinstance(value, str) or "$(" not in value:
        return ""
    return next((row.say for row in EXPRESSIONS if re.search(row.pattern, value)), "")
