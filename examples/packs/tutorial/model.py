"""The model as Python sees it: a class that passes data through the container."""

import json
from pathlib import Path

from dlbs.packs.container_model import Model, read_jsonl_file
from dlbs.packs.docker import DockerContainer


@Model.register("tutorial-model")
class TutorialModel(Model):
    """Reverses strings. The usual class would do the same; this one shows what to write where more is needed."""

    def __init__(self, image="dlbs/tutorial:1.0", device=-1):
        self.image = image
        self.device = device

    def predict(self, text, **options):
        return self.predict_batch([{"text": text}], **options)[0]

    def predict_batch(self, inputs, **options):
        with DockerContainer(self.image) as backend:
            with (Path(backend.host_dir) / "input.jsonl").open("w") as out:
                for instance in inputs:
                    out.write(json.dumps(instance) + "\n")
            command = (
                f"export CUDA_VISIBLE_DEVICES={'' if self.device < 0 else self.device} && python3 run.py"
                f" --input-file {backend.container_dir}/input.jsonl --output-file {backend.container_dir}/output.jsonl"
            )
            backend.run_command(command, cuda=self.device >= 0, network_disabled=True)
            return [line["output"] for line in read_jsonl_file(Path(backend.host_dir) / "output.jsonl")]
