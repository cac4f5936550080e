"""Facts about the machine of a session, collected by a separate process, so that a hanging driver does not block the session.

python -m scripts.gpu.machine      prints them as JSON
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

from scripts import ROOT

_SECONDS = 120.0

_NVML_OF_GPU = (
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetPowerUsage",
)


def ask_machine(environment: dict[str, str]) -> dict[str, Any]:
    """The facts, from a separate process; on failure, `problem` is the reason."""
    command = [sys.executable, "-m", "scripts.gpu.machine"]
    try:
        asked = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        found: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"problem": f"no answer after {_SECONDS:g} s: the driver may be hanging"}
    except (IndexError, ValueError):
        said = asked.stderr.strip().splitlines()
        return {"problem": f"exit code {asked.returncode}: {said[-1] if said else 'no message'}"}
    return found


def facts() -> dict[str, Any]:
    """The facts for the report, with unmodified values of the driver."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "kernel": f"{platform.system()} {platform.release()}",
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    try:
        import torch
    except ImportError as error:
        return {**found, "torch": None, "no_gpu": f"torch cannot be imported: {error}"}
    found |= {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": torch.cuda.device_count(), "no_gpu": ""}
    if not torch.cuda.is_available():
        build = "this PyTorch is built without CUDA" if torch.version.cuda is None else "PyTorch finds no CUDA device"
        return {**found, "no_gpu": f"{build} (torch {torch.__version__})"}
    gpu = torch.cuda.get_device_properties(0)
    found |= {
        "gpu": gpu.name,
        "gpu_uuid": str(getattr(gpu, "uuid", "")),
        "gpu_memory_bytes": gpu.total_memory,
        "gpu_capability": f"{gpu.major}.{gpu.minor}",
        "gpu_multiprocessors": gpu.multi_processor_count,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }
    return {**found, "recorded": _recorded(found)}


def _recorded(found: dict[str, Any]) -> dict[str, Any]:
    """The driver's answers, in the format of tests/gpu/recorded."""
    return {"uuid": found["gpu_uuid"], "title": found["gpu"], "nvml": _nvml(found["gpu_uuid"]), "smi": _nvidia_smi()}


def _nvml(uuid: str) -> dict[str, Any]:
    try:
        import pynvml
    except ImportError:
        return {}
    answers: dict[str, Any] = {}

    def ask(name: str, *arguments: Any) -> Any:
        try:
            return getattr(pynvml, name)(*arguments)
        except AttributeError:
            return {"error": "this pynvml lacks the function"}
        except pynvml.NVMLError as error:
            return {"error": str(error)}

    begun = ask("nvmlInit")
    if begun is not None:
        return {"nvmlInit": begun}
    answers["nvmlSystemGetDriverVersion"] = ask("nvmlSystemGetDriverVersion")
    handle = ask("nvmlDeviceGetHandleByUUID", f"GPU-{uuid}")
    if isinstance(handle, dict):
        return {**answers, "nvmlDeviceGetHandleByUUID": handle}
    answers |= {name: ask(name, handle) for name in _NVML_OF_GPU}
    answers["nvmlDeviceGetClockInfo"] = ask("nvmlDeviceGetClockInfo", handle, pynvml.NVML_CLOCK_SM)
    answers["nvmlDeviceGetMaxClockInfo"] = ask("nvmlDeviceGetMaxClockInfo", handle, pynvml.NVML_CLOCK_SM)
    answers["nvmlDeviceGetTemperature"] = ask("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU)
    for name, fields in (("UtilizationRates", ("gpu", "memory")), ("MemoryInfo", ("total", "free", "used"))):
        answer = ask(f"nvmlDeviceGet{name}", handle)
        known = answer if isinstance(answer, dict) else {one: getattr(answer, one) for one in fields}
        answers[f"nvmlDeviceGet{name}"] = known
    return answers


def _nvidia_smi() -> dict[str, Any]:
    if shutil.which("nvidia-smi") is None:
        return {"stdout": "", "exit_code": 127}
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"stdout": asked.stdout, "exit_code": asked.returncode}


def source_digest() -> str:
    """A digest of all sources that a session tests, so that results of other sources do not count."""
    import hashlib

    digest = hashlib.sha256()
    for folder in ("dlbs", "python", "config", "scripts", "tests/gpu", "benchmarks/gpu"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in {".py", ".yaml", ".sh", ".json"}:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(json.dumps(facts()))
