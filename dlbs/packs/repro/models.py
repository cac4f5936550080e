"""Base classes of models in containers, by what they are asked; and several models side by side."""

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
    """Answers a question about a text."""

    def predict(self, context: str, question: str, *arguments: Any, **options: Any) -> Any:
        """The answer to one question."""
        return self.predict_batch([{"context": context, "question": question}], *arguments, **options)[0]


class QuestionGenerationModel(Model):
    """Asks the question whose answer is a part of a text."""

    def predict(self, context: str, start: int, end: int, **options: Any) -> Any:
        """The question that `context[start:end]` answers."""
        return self.predict_batch([{"context": context, "start": start, "end": end}], **options)[0]


class RecipeGenerationModel(Model):
    """Writes a recipe."""

    def predict(self, name: str, ingredients: Sequence[str], *arguments: Any, **options: Any) -> Any:
        """The recipe of a dish."""
        return self.predict_batch([{"name": name, "ingredients": ingredients}], *arguments, **options)[0]


class SingleDocumentSummarizationModel(Model):
    """Sums a document up."""

    def predict(self, document: DocumentType, *arguments: Any, **options: Any) -> Any:
        """The summary of one document."""
        return self.predict_batch([{"document": document}], *arguments, **options)[0]


class TruecasingModel(Model):
    """Gives words back their capitals."""

    def predict(self, text: str, *arguments: Any, **options: Any) -> Any:
        """One text with capitals."""
        return self.predict_batch([{"text": text}], *arguments, **options)[0]


class ParallelModel(Model):
    """Several models of a class side by side, each with a part of the inputs. Each of them waits for its own containers.

    `aggregate_parallel_metrics` puts the results of metrics together.

    Args:
        model_cls: The class.
        model_kwargs_list: Arguments of each model's constructor, such as `[{"device": 0}, {"device": 1}]`.
        num_models: How many there are, if none has arguments.

    Raises:
        ConfigError: Neither or both of the latter are given.
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
        """What each model gives for its part of the inputs, in their order: one result for a model, not one for an input."""
        if not inputs:
            return []
        size = math.ceil(len(inputs) / len(self.model_kwargs_list))
        parts = [inputs[start : start + size] for start in range(0, len(inputs), size)]

        def predict(given: Mapping[str, Any], part: Sequence[Any]) -> Any:
            return self.model_cls(**given).predict_batch(part, *arguments, **options)

        with ThreadPoolExecutor(len(parts)) as pool:
            return list(pool.map(predict, self.model_kwargs_list, parts))
