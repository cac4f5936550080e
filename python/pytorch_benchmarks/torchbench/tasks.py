"""Names of tasks, for the attribute `task` of models."""

from __future__ import annotations

from enum import Enum

__all__ = ["AUDIO", "COMPUTER_VISION", "GNN", "NLP", "OTHER", "RECOMMENDATION", "REINFORCEMENT_LEARNING", "SPEECH"]


class COMPUTER_VISION(Enum):  # noqa: N801
    """Images."""

    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"
    DETECTION = "detection"
    GENERATION = "generation"
    PATTERN_RECOGNITION = "pattern recognition"
    VIDEO_INTERPOLATION = "video interpolation"
    OTHER_COMPUTER_VISION = "other computer vision"


class NLP(Enum):
    """Text."""

    TRANSLATION = "translation"
    LANGUAGE_MODELING = "language modeling"
    GENERATION = "generation"
    OTHER_NLP = "other nlp"


class SPEECH(Enum):
    """Speech."""

    SYNTHESIS = "synthesis"
    RECOGNITION = "recognition"


class RECOMMENDATION(Enum):
    """Recommendation."""

    RECOMMENDATION = "recommendation"


class REINFORCEMENT_LEARNING(Enum):  # noqa: N801
    """Reinforcement learning."""

    OTHER_RL = "other rl"


class AUDIO(Enum):
    """Sound."""

    MUSIC_SOURCE_SEPARATION = "music source separation"


class GNN(Enum):
    """Graphs."""

    CLASSIFICATION = "classification"


class OTHER(Enum):
    """Anything else."""

    OTHER_TASKS = "other tasks"
    MICROBENCH = "microbench"
