"""What became of the names, values and expressions of the original DLBS (HewlettPackard/dlcookbook-dlbs): one table.

It makes the hints of errors, `dlbs migrate`, and the table in docs/migrating.md. Names that mean the same in both are not in it.
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
    """A parameter of the original, and what to write for it.

    Attributes:
        name: Its name there; `*` stands for any rest of a name.
        new: The parameter that has its meaning; empty if none has.
        why: A sentence for what the names alone do not say.
        values: Text of a value → the parameters to set for it, or None if nothing here means it. Other values stay as they are.
        words: The same for a value that is a list of words; a word may become nothing.
        omit: It may be left out: what it asked for is always done, or was a detail of the original's own scripts.
        own: It did nothing but describe the experiment: declare it, or give it a name outside the shipped namespaces.
        reference: What `${name}` becomes if `new` is not the same in every value.
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
        """Whether a value means something else here, or nothing."""
        return self._word(value) in self.values

    def meaning(self, value: Any) -> Mapping[str, Any] | None:
        """The parameters to set for a value that `has` knows; None if nothing here means it."""
        return self.values[self._word(value)]

    def _word(self, value: Any) -> str:
        """The text of a value; a boolean was written in many ways (`t`, `on`, 1)."""
        word = text(value)
        meant = truth(value) if {"true", "false"} <= self.values.keys() and word not in self.values else None
        return word if meant is None else text(meant)

    @property
    def hint(self) -> str:
        """What to write instead, as a sentence without its full stop."""
        said = f"{self.name} is {self.new} here" if self.new and self.new != self.name else ""
        if not self.new:
            meanings = {value: _settings(meant) for value, meant in self.values.items() if meant}
            if not any(settings in self.why for settings in meanings.values()):
                said = ", ".join(f"{self.name}={value} is {settings}" for value, settings in meanings.items())
                said += " here" if said else ""
        if self.own:
            said = (
                f"nothing reads {self.name} here; declare it with a 'desc', or name it outside the shipped namespaces"
            )
        elif not said and not self.why and self.omit:
            said = f"{self.name} can be left out"
        return ": ".join(filter(None, (said, self.why)))


@dataclass(frozen=True, slots=True)
class FormerExpression:
    """What expressions of the original may have that those here have not.

    Attributes:
        shown: How it is called in the manual.
        pattern: A regular expression that finds it.
        say: What to write.
        becomes: The replacement, if it means exactly the same; None if a person has to decide.
        differs: Whether it is an expression here too, but means something else.
    """

    shown: str
    pattern: str
    say: str
    becomes: str | None = None
    differs: bool = False


_RERUN: dict[str, Mapping[str, Any] | None] = {"true": {"exp.rerun": "always"}, "false": {"exp.rerun": "never"}}
_TENSOR_CORES = "tensor cores are used wherever exp.dtype (float16, bfloat16, tf32) allows it"
_LAUNCHER = "put the command into runtime.launcher"

NAMES = (
    Former("exp.status", values={"disabled": {"exp.status": "inactive"}, "ok": {"exp.status": ""}}),
    Former("exp.rerun", values=_RERUN, why="onfail repeats what failed"),
    Former("exp.proj", "exp.project"),
    Former("exp.framework_ver", "exp.framework_version"),
    Former(
        "exp.framework_family",
        why="exp.framework alone names the launcher and the parameters; copy F.launcher if two frameworks share one",
        values={"${exp.framework}": {}},
        reference="exp.framework",
    ),
    Former("exp.framework_commit", own=True),
    Former(
        "exp.data_dir",
        "pytorch.data_dir",
        "each framework has its own directory, and this is that of pytorch and train",
        values={"${${exp.framework_family}.data_dir}": {}, "${pytorch.data_dir}": {}},
        reference="pytorch.data_dir",
    ),
    Former(
        "exp.data",
        why="the benchmark finds it out; pytorch.data says where synthetic data lie, pytorch.data_dir which real ones are read",
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
        why="docker itself gives GPUs to containers",
        values={"nvidia-docker": {"exp.docker_launcher": "docker"}},
    ),
    Former(
        "exp.singularity*",
        why="containers are docker's, or those of a program that takes its arguments (exp.docker_launcher)",
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
        why="nothing collects what inxi and dmi did",
    ),
    Former("monitor.frequency", "monitor.interval", "seconds between two samples, as it was in the original"),
    Former("monitor.timeseries", omit=True, why="all series are logged, by their names results.use.*"),
    Former("monitor.launcher", omit=True, why="the monitor is part of dlbs run"),
    Former("monitor.backend_pid_folder", omit=True, why="it follows from monitor.pid_folder"),
    Former("resource_monitor.*", why="monitor.interval, seconds between two samples, turns the monitor on, 0 off"),
    Former("runtime.EXPORT_*", omit=True, why="every launcher sets CUDA_VISIBLE_DEVICES and CUDA_CACHE_PATH"),
    Former("runtime.visible_gpus", omit=True, why="CUDA_VISIBLE_DEVICES is made of exp.gpus"),
    Former("runtime.bind_proc", why=_LAUNCHER),
    Former("runtime.limit_resources", why=_LAUNCHER),
    Former(
        "pytorch.data_loader_only",
        why="exp.phase=ingestion asks for it",
        values={"true": {"exp.phase": "ingestion"}, "false": {}},
    ),
    Former("pytorch.distributed_rank", "exp.node_rank", "each node starts the same command with its own number"),
    Former("pytorch.distributed_rendezvous", "exp.rendezvous", "the address of node 0, as HOST:PORT"),
    Former(
        "pytorch.distributed_*",
        why="torchrun gives each process its rank and finds the others: see --nodes, exp.node_rank and exp.rendezvous",
    ),
    Former(
        "sys.plan_builder.method",
        values={"cartesian_product": {}},
        why="the product of the variables is the only method",
    ),
    # Of the original's first versions
    Former(
        "exp.framework_id",
        values={"${exp.framework}": {}},
        reference="exp.framework",
        why="exp.framework has the same meaning",
    ),
    Former("exp.device_batch", "exp.replica_batch"),
    Former("exp.bench_iters", "exp.num_batches"),
    Former("exp.warmup_iters", "exp.num_warmup_batches"),
    Former("exp.device", "exp.device_type", "exp.gpus says which GPUs"),
    Former(
        "exp.env",
        why="exp.docker says whether a container is used",
        values={"docker": {"exp.docker": True}, "host": {"exp.docker": False}},
    ),
    Former(
        "exp.simulation",
        why="exp.status=simulate asks for it",
        values={"true": {"exp.status": "simulate"}, "false": {}},
    ),
    Former("exp.force_rerun", why="exp.rerun=always asks for it", values=_RERUN),
    Former("exp.bench_root", own=True),
    Former("exp.docker.launcher", "exp.docker_launcher", values={"nvidia-docker": {"exp.docker_launcher": "docker"}}),
    Former("exp.docker.image", "exp.docker_image"),
    Former("exp.docker.args", "exp.docker_args"),
)

# Frameworks of the original, and caffe.*, which was of all three kinds of Caffe.
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
        "references are put into any text: write '${exp.model}_x' without the f",
    ),
    FormerExpression(
        "`.format()`",
        r"\.format\(",
        "put references into the text itself, or write '%s' % value: a format text could read any attribute",
    ),
    FormerExpression(
        "`lambda`, `map`, `filter`", r"\blambda\b|\b(map|filter)\(", "write a comprehension: [x + 1 for x in ...]"
    ),
    FormerExpression(
        "`'${exp.docker}' == 'True'`",
        r"(['\"])\$\{[^{}]+\}\1\s*[=!]=\s*(['\"])(True|False)\2",
        "the text of a boolean is true or false here: compare the value, ${exp.docker} is True",
        differs=True,
    ),
    FormerExpression("`os.path.expanduser('~')`", r"os\.path\.expanduser\b", "write ${HOME}"),
    FormerExpression(
        "`datetime`, `time`, `random`",
        r"\b(datetime|time|random)\.\w+",
        "an expression has the same value each time: give it with -P or in an environment variable",
    ),
    FormerExpression(
        "`open`, `os.popen`, `subprocess`",
        r"\bopen\(|\bos\.(popen|system)\b|\bsubprocess\b|__import__",
        "expressions start and read nothing: give the value with -P or in an environment variable",
    ),
)


def former(name: str) -> Former | None:
    """The row of a name of the original; None if it has none."""
    for row in NAMES:
        if row.name == name or (row.name.endswith("*") and name.startswith(row.name[:-1])):
            return row
    return None


def migration_hint(name: str) -> str:
    """What to write for a parameter that the original had and that does not exist here; empty if it had none of that name."""
    row = former(name)
    return "" if row is None else row.hint


def framework_hint(name: str) -> str:
    """What became of a framework that only the original had, or of a parameter of one; empty for others."""
    framework, _, parameter = name.partition(".")
    if framework not in FRAMEWORKS:
        return ""
    what_to_do = f"set {name}, or leave it out here" if parameter else "docs/launchers.md says how to add it"
    return f"{framework} of the original does not come with DLBS: {what_to_do}"


def value_hint(name: str, value: Any) -> str:
    """What to write for a value that means something else here, or nothing; empty if it means the same as in the original."""
    row = former(name)
    if row is None:
        return ""
    words = [word for word in re.split(r"[,\s]+", text(value)) if word in row.words]
    if words:
        new = dict.fromkeys(row.words[word] or "" for word in words)
        return f"{name}={','.join(words)} is {name}={','.join(filter(None, new))} here" + (
            f"; {row.why}" if row.why else ""
        )
    if not row.has(value):
        return ""
    meant = row.meaning(value)
    if meant is None:
        return row.why
    return f"{name}={text(value)} is {_settings(meant)} here" if meant else ""


def _settings(meant: Mapping[str, Any]) -> str:
    return " ".join(f"{new}={text(becomes)}" for new, becomes in meant.items())


def expression_hint(value: Any) -> str:
    """What to write for what only expressions of the original may have; empty if a value has none of it."""
    if not isinstance(value, str) or "$(" not in value:
        return ""
    return next((row.say for row in EXPRESSIONS if re.search(row.pattern, value)), "")
