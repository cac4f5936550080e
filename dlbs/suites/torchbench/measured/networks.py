"""Base classes of TorchBench models whose network comes from another package: torchvision, timm, transformers, PyTorch Geometric."""

from __future__ import annotations

import importlib
import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmark_core.exits import UsageError

from .model import GNN, NLP, BenchmarkModel

_NETWORKS = {"gat": "GAT", "gcn": "GCN", "edgecnn": "EdgeCNN", "gin": "GIN", "sage": "GraphSAGE"}
_NODES, _EDGES, _FEATURES, _LAYERS = 10_000, 200_000, 64, 3


def _package(name: str) -> Any:
    """A package with networks.

    Raises:
        UsageError: It cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"the network needs {name.partition('.')[0]}: {error}") from None


class NetworkModel(BenchmarkModel):
    """A network of another package, trained in stages."""

    DEFAULT_EVAL_CUDA_PRECISION = "fp16"
    amp_context: Any = nullcontext
    model: nn.Module
    example_inputs: Any

    def get_module(self) -> tuple[nn.Module, Any]:
        inputs = self.example_inputs
        return self.model, (inputs,) if isinstance(inputs, Tensor) else inputs

    def backward(self, loss: Tensor) -> None:
        """The gradients of the weights."""
        loss.backward()

    def optimizer_step(self) -> None:
        """One step of the optimizer."""
        self.get_optimizer().step()

    def eval(self) -> tuple[Any, ...]:
        inputs = self.example_inputs
        with self.amp_context():
            return (self.model(*((inputs,) if isinstance(inputs, Tensor) else inputs)),)


class TorchVisionModel(NetworkModel):
    """A network of torchvision for 224 × 224 images, with random weights, since times do not depend on them: nothing is downloaded.

    Args:
        model_name: Name in torchvision.
        weights: Name of trained weights in the model's file; ignored.
    """

    TORCHVISION_MODEL = True

    def __init__(
        self, model_name: str, test: str, device: str, batch_size: int | None = None, weights: Any = None, *arguments: Any, **options: Any
    ) -> None:  # fmt: skip
        super().__init__(test, device, batch_size, *arguments, **options)
        self.model: nn.Module = getattr(_package("torchvision.models"), model_name)(weights=None).to(device)
        self.example_inputs: tuple[Tensor, ...] = (torch.randn(self.batch_size or 1, 3, 224, 224, device=device),)
        self.model.train(test == "train")
        if test == "train":
            self.loss_fn = nn.CrossEntropyLoss()
            self.opt = torch.optim.Adam(self.model.parameters())

    def forward(self) -> Tensor:
        """The loss of one batch. The shape of its targets comes from a preceding pass: the suite's step has two passes, so this one has too."""
        with self.amp_context():
            with torch.no_grad():
                targets = torch.rand_like(_logits(self.model(*self.example_inputs)))
            outputs = _logits(self.model(*self.example_inputs))
        loss: Tensor = self.loss_fn(outputs, targets.to(outputs.dtype))
        return loss


def _logits(outputs: Any) -> Tensor:
    """The logits; in training, GoogLeNet and Inception return those of auxiliary classifiers too; segmentation returns a mapping."""
    if isinstance(outputs, dict):
        outputs = outputs["out"]
    found: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
    return found


class TimmModel(NetworkModel):
    """A network of timm with random weights.

    Args:
        model_name: Name in timm.
    """

    TIMM_MODEL = True

    def __init__(self, model_name: str, test: str, device: str, *arguments: Any, **options: Any) -> None:
        super().__init__(test, device, *arguments, **options)
        self.model: nn.Module = _package("timm").create_model(model_name, pretrained=False, scriptable=True).to(device)
        size = self.batch_size or 1
        shape = getattr(self.model, "default_cfg", {}).get("input_size", (3, 224, 224))
        self.example_inputs: Tensor = torch.randn(size, *shape, device=device)
        self.model.train(test == "train")
        if test == "train":
            self.example_outputs = torch.randint(self.model.num_classes, (size,), device=device)
            self.loss = nn.CrossEntropyLoss()
            self.optimizer = torch.optim.SGD(
                self.model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4, nesterov=True
            )

    def forward(self) -> Tensor:
        """The loss of one batch."""
        with self.amp_context():
            outputs = self.model(self.example_inputs)
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        loss: Tensor = self.loss(logits, self.example_outputs)
        return loss


@dataclass(frozen=True, slots=True)
class Configuration:
    """A network as configured by the suite. Sizes are defined here, because the suite requests them from a server.

    Attributes:
        train_length: Tokens of an instance in training.
        eval_length: Tokens of an instance in inference on a GPU.
        config: Configuration class of transformers.
        network: Network class of transformers.
        sizes: Differences from the defaults of the class, as in the published checkpoint.
        shorter_on_cpu: Factor by which instances are shorter in inference on a CPU.
        optimizer: Class of torch.optim.
    """

    train_length: int
    eval_length: int
    config: str
    network: str = "AutoModelForMaskedLM"
    sizes: dict[str, Any] = field(default_factory=dict)
    shorter_on_cpu: int = 1
    optimizer: str = "Adam"


_TOKEN = "HUGGING_FACE_HUB_TOKEN"
_CAUSAL, _PAIRS, _AUDIO = "AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForAudioClassification"
_GENERATES = "_generate"  # suffix of models that generate text with the network named before it
_BART_BASE = {
    "encoder_layers": 6, "decoder_layers": 6, "d_model": 768, "encoder_attention_heads": 12, "decoder_attention_heads": 12,
    "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072,
}  # fmt: skip
_ALBERT_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_T5: dict[str, Any] = {"decoder_start_token_id": 0}
_T5_BASE = {**_T5, "d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
_T5_LARGE = {**_T5, "d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16}
_GPT2_LARGE = {"n_embd": 1280, "n_layer": 36, "n_head": 20}
_BERT_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}  # smaller hidden size than BERT's
_ROBERTA = {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1}  # the version for 100 languages
_LONGFORMER = {
    "vocab_size": 50265, "max_position_embeddings": 4098, "type_vocab_size": 1, "pad_token_id": 1, "attention_window": [512] * 12,
}  # fmt: skip
_DISTIL_WHISPER = {
    "vocab_size": 51864, "d_model": 1024, "encoder_layers": 24, "encoder_attention_heads": 16, "encoder_ffn_dim": 4096,
    "decoder_layers": 2, "decoder_attention_heads": 16, "decoder_ffn_dim": 4096,
}  # fmt: skip
_DISTIL_GPT2 = {"n_layer": 6}

CONFIGURATIONS: dict[str, Configuration] = {
    "hf_Albert": Configuration(512, 512, "AlbertConfig", sizes=_ALBERT_BASE),
    "hf_Bart": Configuration(512, 512, "BartConfig", _PAIRS, _BART_BASE),
    "hf_Bert": Configuration(512, 512, "BertConfig"),
    "hf_Bert_large": Configuration(512, 512, "BertConfig", sizes=_BERT_LARGE),
    "hf_BigBird": Configuration(
        1024, 4096, "BigBirdConfig", sizes={"attention_type": "block_sparse"}, shorter_on_cpu=5
    ),
    "hf_DistilBert": Configuration(512, 512, "DistilBertConfig"),
    "hf_GPT2": Configuration(512, 1024, "GPT2Config", _CAUSAL, shorter_on_cpu=4),
    "hf_GPT2_large": Configuration(512, 1024, "GPT2Config", _CAUSAL, _GPT2_LARGE),
    "hf_Longformer": Configuration(1024, 4096, "LongformerConfig", sizes=_LONGFORMER, shorter_on_cpu=8),
    "hf_Reformer": Configuration(4096, 4096, "ReformerConfig", sizes={"num_buckets": 128}, shorter_on_cpu=2),
    "hf_Roberta_base": Configuration(512, 512, "XLMRobertaConfig", sizes=_ROBERTA),
    "hf_T5": Configuration(1024, 2048, "T5Config", _PAIRS, _T5, shorter_on_cpu=4),
    "hf_T5_base": Configuration(1024, 2048, "T5Config", _PAIRS, _T5_BASE),
    "hf_T5_large": Configuration(512, 512, "T5Config", _PAIRS, _T5_LARGE),
    "hf_distil_gpt2": Configuration(512, 1024, "GPT2Config", _CAUSAL, _DISTIL_GPT2),
    "hf_Whisper": Configuration(1024, 1024, "WhisperConfig", _AUDIO),
    "hf_distil_whisper": Configuration(1024, 1024, "WhisperConfig", _AUDIO, _DISTIL_WHISPER),
    "llama_v2_7b_16h": Configuration(128, 512, "LlamaConfig", _CAUSAL, {"num_hidden_layers": 16}, optimizer="SGD"),
}


class HuggingFaceAuthMixin:
    """Base of models that the suite runs only with an access token for Hugging Face's server."""

    def __init__(self) -> None:
        if not os.environ.get(_TOKEN):
            raise NotImplementedError(f"its weights require access approval by their owner: {_TOKEN} is not set")


class ArgsToKwargsWrapper(nn.Module):
    """A network with positional inputs, for tools that trace networks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Any:
        return self.model(input_ids=input_ids, decoder_input_ids=decoder_input_ids)


class HuggingFaceModel(NetworkModel):
    """A network of transformers with random weights and tokens.

    Args:
        name: A key of `CONFIGURATIONS`, optionally followed by `_generate`.

    Raises:
        NotImplementedError: The name is unknown, or the installed version of transformers no longer has the network.
    """

    HF_MODEL = True

    def __init__(self, name: str, test: str, device: str, *arguments: Any, **options: Any) -> None:
        super().__init__(test, device, *arguments, **options)
        wanted = CONFIGURATIONS.get(name.removesuffix(_GENERATES))
        if wanted is None:
            raise NotImplementedError(f"the size of {name} is unknown here; the suite downloads it")
        self.name = name
        transformers = _package("transformers")
        if not hasattr(transformers, wanted.config):
            raise NotImplementedError(f"transformers {transformers.__version__} has no {wanted.config}")
        config = getattr(transformers, wanted.config)(**wanted.sizes)
        self.model: nn.Module = getattr(transformers, wanted.network).from_config(config).to(device)
        self._has_decoder = wanted.network == _PAIRS
        self.max_length = wanted.train_length if test == "train" else wanted.eval_length
        if test == "eval" and torch.device(device).type == "cpu":
            self.max_length //= wanted.shorter_on_cpu
        self.vocab_size = config.vocab_size
        self.example_inputs: dict[str, Tensor] = {"input_ids": self._tokens()}
        if test == "train":
            self.example_inputs["labels"] = self._tokens()
            self.optimizer = getattr(torch.optim, wanted.optimizer)(self.model.parameters(), lr=1e-3)
        elif self._has_decoder:
            self.example_inputs["decoder_input_ids"] = self.example_inputs["input_ids"]
        self.model.train(test == "train")

    def _tokens(self) -> Tensor:
        return torch.randint(self.vocab_size, (self.batch_size or 1, self.max_length), device=self.device)

    def get_module(self, wrap_model: bool = True) -> tuple[nn.Module, Any]:
        if not self._has_decoder:
            return self.model, (self.example_inputs["input_ids"],)
        second = "labels" if self.test == "train" else "decoder_input_ids"
        network = ArgsToKwargsWrapper(self.model) if wrap_model else self.model
        return network, (self.example_inputs["input_ids"], self.example_inputs[second])

    def forward(self) -> Tensor:
        """The loss of one batch."""
        with self.amp_context():
            loss: Tensor = self.model(**self.example_inputs).loss
        return loss

    def eval(self) -> tuple[Any, ...]:
        with self.amp_context():
            outputs = self.model(**self.example_inputs)
        return (outputs.logits,)


class GenerationWrapper(nn.Module):
    """A network that generates text, with tokens as outputs."""

    def __init__(self, model: nn.Module, generation_config: Any) -> None:
        super().__init__()
        self.model = model
        self.generation_config = generation_config

    def forward(self, inputs: Tensor) -> Any:
        return self.model.generate(inputs, self.generation_config)  # type: ignore[operator]


class HuggingFaceGenerationModel(HuggingFaceModel):
    """Generates 256 tokens, one by one, with the network named before `_generate`. Training is not supported."""

    task = NLP.GENERATION
    DEFAULT_EVAL_BSIZE = 1

    def __init__(self, name: str, test: str, device: str, *arguments: Any, **options: Any) -> None:
        super().__init__(name, test, device, *arguments, **options)
        fixed = {"max_new_tokens": 256, "pad_token_id": 0, "eos_token_id": None, "do_sample": False, "num_beams": 1}
        self.model = GenerationWrapper(self.model, _package("transformers").GenerationConfig(**fixed, use_cache=True))
        self._inputs = (self.example_inputs["input_ids"],)

    def get_module(self, wrap_model: bool = True) -> tuple[nn.Module, Any]:
        return self.model, self._inputs

    def train(self) -> None:
        raise NotImplementedError("training is not supported for models that generate text")

    def eval(self) -> tuple[Any, ...]:
        with self.amp_context():
            return (self.model(*self._inputs),)


class BasicGNNModel(BenchmarkModel):
    """A graph network of three layers on one random graph of 10,000 nodes and 200,000 edges; training is a backward pass without an optimizer.

    Args:
        model_name: gat, gcn, edgecnn, gin or sage.
    """

    task = GNN.CLASSIFICATION
    ALLOW_CUSTOMIZE_BSIZE = False
    DEFAULT_TRAIN_BSIZE = 1
    DEFAULT_EVAL_BSIZE = 1

    def __init__(self, model_name: str, test: str, device: str, *arguments: Any, **options: Any) -> None:
        super().__init__(test, device, *arguments, **options)
        self.model: nn.Module = getattr(_package("torch_geometric.nn"), _NETWORKS[model_name])(
            _FEATURES, _FEATURES, num_layers=_LAYERS
        ).to(device)
        features = torch.randn(_NODES, _FEATURES, device=device)
        self.example_inputs: tuple[Any, ...] = (features, torch.randint(_NODES, (2, _EDGES), device=device))

    def get_module(self) -> tuple[nn.Module, Any]:
        return self.model, self.example_inputs

    def train(self) -> None:
        outputs = self.model(*self.example_inputs)
        outputs.backward(torch.randn_like(outputs))

    def eval(self) -> tuple[Any, ...]:
        return (self.model(*self.example_inputs),)


class GNNModel(BenchmarkModel):
    """A graph network on a part of Reddit's graph, which the suite downloads: unsupported without its data."""

    def __init__(self, model_name: str, test: str, device: str, *arguments: Any, **options: Any) -> None:
        super().__init__(test, device, *arguments, **options)
        raise NotImplementedError(f"{model_name} needs a part of Reddit's graph, which is part of the suite's own data")
