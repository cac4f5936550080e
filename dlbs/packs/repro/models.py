"""Base classes of models in containers, by task, and parallel models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dlbs.errors import ConfigError
from dlbs.packs.container_model import Model
from dlbs.packs.repro.types import DocumentType, SummaryType

__all__ = [
    "DocumentType",
    "Model",
    "ParallelModel",
    "QuestionAnsweringModel",
    "QuestionGenerationModel",
    "RecipeGenerationModel",
    "SingleDocumentSummarizationModel",
    "SummaryType",
    "TruecasingModel",
]


class QuestionAnsweringModel(Model):
    """A model that answers questions about a text."""

    def predict(self, context: str, question: str, *arguments: Any, **options: Any) -> Any:
        """The answer to one question."""
        return self.predict_batch([{"context": context, "question": question}], *arguments, **options)[0]


class QuestionGenerationModel(Model):
    """A model that generates a question whose answer is a part of a text."""

    def predict(self, context: str, start: int, end: int, **options: Any) -> Any:
        """The question that `context[start:end]` answers."""
        return self.predict_batch([{"context": context, "start": start, "end": end}], **options)[0]


class RecipeGenerationModel(Model):
    """A model that writes recipes."""

    def predict(self, name: str, ingredients: Sequence[str], *arguments: Any, **options: Any) -> Any:
        """The recipe of a dish."""
        return self.predict_batch([{"name": name, "ingredients": ingredients}], *arguments, **options)[0]


class SingleDocumentSummarizationModel(Model):
    """A model that summarizes a document."""

    def predict(self, document: DocumentType, *arguments: Any, **options: Any) -> Any:
        """The summary of one document."""
        return self.predict_batch([{"document": document}], *arguments, **options)[0]


class TruecasingModel(Model):
    """A model that restores capital letters."""

    def predict(self, text: str, *arguments: Any, **options: Any) -> Any:
        """The text with capital letters."""
        return self.predict_batch([{"text": text}], *arguments, **options)[0]


class ParallelModel(Model):
    """Several models of a class in parallel, each with a part of the inputs and its own containers.

    `aggregate_parallel_metrics` combines the results of metrics.

    Args:
        model_cls: The class.
        model_kwargs_list: Arguments of each model's constructor, such as `[{"device": 0}, {"device": 1}]`.
        num_models: Number of models, if none has arguments.

    Raises:
        ConfigError: Neither or both of the last two are given.
    """

    def __init__(
        self,
        model_cls: type[Model],
        model_kwargs_list: Sequence[Mapping[str, Any]] | None = None,
        num_models: int | None = None,
    ) -> None:
        if bool(model_kwargs_list) == (num_models is not None) or (num_models is not None and num_models < 1):
            raise ConfigError("ParallelModel needs either model_kwargs_list or a positive num_models")
        self.model_cls = model_cls
        self.model_kwargs_list = list(model_kwargs_list or [{} for _ in range(num_models or 0)])

    def predict_batch(self, inputs: Sequence[Any], *arguments: Any, **options: Any) -> list[Any]:
        """The results of the models for their parts of the inputs, in order: one per model, not per input."""
        if not inputs:
            return []
        size = math.ceil(len(inputs) / len(self.model_kwargs_list))
        parts = [inputs[start : start + size] for start in range(0, len(inputs), size)]

        def predict(given: Mapping[str, Any], part: Sequence[Any]) -> Any:
            return self.model_cls(**given).predict_batch(part, *arguments, **options)

        with ThreadPoolExecutor(len(parts)) as pool:
            return list(pool.map(predict, self.model_kwargs_list, parts))
