"""Architecture packs: additional models of pytorch_benchmarks, which measures them like its own; and what all packs that it measures share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from dlbs.config.names import registered_in
from dlbs.core.errors import ConfigError, LaunchError
from dlbs.core.experiment import Check
from dlbs.core.files import dlbs_root
from dlbs.packs.environments import python_of
from dlbs.packs.kinds import INSTALLED_CHECK, Finding, Kind, findings_of, programs_environment
from dlbs.packs.pack import Environment, Pack, Places, matches


class TorchKind(Kind):
    """Packs that pytorch_benchmarks measures, with the torch installed here: their environments only add packages."""

    builds_on = ("pytorch",)
    checks: Sequence[Check] = (INSTALLED_CHECK,)

    def parameters(self, pack: Pack, places: Places, given: Set[str]) -> dict[str, Any]:
        return {**super().parameters(pack, places, given), "exp.docker_image": "${pytorch.docker_image}"}

    def needs_environment(self, pack: Pack) -> bool:
        return any((pack.directory / name).is_file() for name in ("requirements.txt", "install.py"))

    def requirements(self, pack: Pack, variant: str) -> Path | None:
        plain = pack.directory / "requirements.txt"
        return plain if plain.is_file() else None

    def install(self, environment: Environment, requirements: Path | None) -> None:
        environment.share_torch()
        pack = environment.pack
        if (pack.directory / "install.py").is_file():
            self.run_installer(environment)
        elif requirements is not None:
            environment.pip_install(requirements.name, "-r", str(requirements))
        if name := _second_torch(environment):
            raise LaunchError(
                f"{pack.name} installs {name}, but must use the one that is already installed",
                where=str(pack.directory),
                hint="remove it from requirements.txt and install.py",
            )

    def run_installer(self, environment: Environment) -> None:
        """Run install.py of a pack."""
        environment.run("install.py", str(environment.python), "install.py")

    def recovers(self, environment: Environment) -> bool:
        return _second_torch(environment) is None

    def shell(self, pack: Pack) -> dict[str, str]:
        paths = [str(dlbs_root() / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(paths)}  # so that its checks can be run


class ArchitectureKind(TorchKind):
    """A file that registers models."""

    name = "architecture"
    precedence = 20
    files = "architecture.py with @register_model"
    runs_as = "pytorch"
    template: Path | None = Path(__file__).parent / "templates" / "architecture"

    def recognises(self, directory: Path) -> bool:
        return matches(directory / "architecture.py", r"^@register_model\(|^ +implements *=")

    def parameters(self, pack: Pack, places: Places, given: Set[str]) -> dict[str, Any]:
        """The parameters of a model of pytorch_benchmarks, except for the file that registers it.

        Raises:
            ConfigError: `argv` is a list instead of a mapping.
        """
        file = pack.directory / "architecture.py"
        models = registered_in(file)
        if not isinstance(pack.argv, dict):
            raise ConfigError("argv of an architecture must be a mapping of its builder's options", where=pack.where)
        own: dict[str, Any] = {"pack.launcher": "${pytorch.launcher}", "pytorch.architecture": str(file)}
        if self.needs_environment(pack):
            own["runtime.python"] = "$('${pack.python}' if not ${exp.docker} else 'python3')$"
        own["exp.model"] = pack.name if pack.name in models or not models else next(iter(models))
        if pack.argv:
            own["exp.model_opts"] = dict(pack.argv)
        return {**super().parameters(pack, places, given), **own}

    def check(self, pack: Pack, device: str) -> Iterator[Finding]:
        """The checks that models of pytorch_benchmarks have to pass, for each model of the pack."""
        file = pack.directory / "architecture.py"
        for name in registered_in(file):
            options = json.dumps(pack.argv) if isinstance(pack.argv, dict) else "{}"
            module = ["-m", "pytorch_benchmarks.checks", name, "--architecture", str(file), "--options", options]
            yield from findings_of([python_of(pack), *module, "--device", device], programs_environment(pack))


def _second_torch(environment: Environment) -> str | None:
    """The package of PyTorch in an environment that has to use the one installed here."""
    names = ("torch", "torchvision", "torchtext")
    return next((name for name in names if (environment.library / name).exists()), None)
