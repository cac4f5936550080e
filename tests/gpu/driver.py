"""Plays recorded answers of the NVIDIA driver: a module like pynvml, and a program nvidia-smi."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = ["MACHINES", "RecordedNvml", "recording", "write_nvidia_smi"]

_PLACE = Path(__file__).parent / "recorded"
MACHINES = sorted(path.stem for path in _PLACE.glob("*.json"))


def recording(machine: str) -> dict[str, Any]:
    """The recorded answers of a machine."""
    found: dict[str, Any] = json.loads((_PLACE / f"{machine}.json").read_text())
    return found


class RecordedNvml:
    """Answers like the module pynvml of a recorded machine, which has one GPU, or a part of one.

    A recorded list that is no answer of two values (`nvmlDeviceGetMigMode`) is answered one element after the other.
    """

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        """What pynvml raises."""

    def __init__(self, machine: str) -> None:
        self.recording = recording(machine)
        self._given: dict[str, int] = {}

    def nvmlInit(self) -> None:
        if "init" in self.recording:
            raise self.NVMLError(self.recording["init"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index:
            raise self.NVMLError("INVALID_ARGUMENT")
        return "whole"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        part = bool(self.recording.get("part"))
        if uuid != f"{'MIG' if part else 'GPU'}-{self.recording['uuid']}":
            raise self.NVMLError("NOT_FOUND")
        return "part" if part else "whole"

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> str:
        assert handle == "part"
        return "whole"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.recording["nvml"]:
            raise AttributeError(name)
        answer = self.recording["nvml"][name]

        def ask(handle: str = "whole", *_: object) -> Any:
            assert handle == "whole", "what is asked here, a part of a GPU does not answer"
            if isinstance(answer, dict) and "error" in answer:
                raise self.NVMLError(answer["error"])
            if isinstance(answer, dict):
                return SimpleNamespace(**answer)
            if isinstance(answer, list) and name != "nvmlDeviceGetMigMode":
                number = self._given.get(name, 0)
                self._given[name] = number + 1
                return answer[min(number, len(answer) - 1)]
            return answer

        return ask


def write_nvidia_smi(machine: str, directory: Path) -> Path:
    """A program nvidia-smi that prints what the recorded one printed, and ends as it ended."""
    said = recording(machine)["smi"]
    program = directory / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(said['stdout'])}\nexit {said['exit_code']}\n")
    program.chmod(0o755)
    return program
