"""Options that make large models small enough to be tested."""

from __future__ import annotations

__all__ = ["SMALLER"]

# Shorter texts and smaller images will do; their expected outputs say with which options they were made.
SMALLER: dict[str, dict[str, int]] = {
    "bert_base": {"sequence_length": 16},
    "gpt2_small": {"sequence_length": 16},
    "smollm2_135m": {"sequence_length": 16},
    "unet": {"side": 188},
}
