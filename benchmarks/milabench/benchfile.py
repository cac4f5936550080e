"""One package for all entries of base.yaml: the main script has the entry's name."""

from milabench.pack import Package


class ScriptOfItsName(Package):
    base_requirements = "requirements.in"

    @property
    def main_script(self) -> str:
        return f"{self.config['name']}.py"

    def make_env(self) -> dict[str, str]:
        return {**super().make_env(), "OMP_NUM_THREADS": "1"}


__pack__ = ScriptOfItsName
