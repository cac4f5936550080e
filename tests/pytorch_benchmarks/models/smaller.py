"""Options and inputs that make large models small enough to be tested."""

from __future__ import annotations

__all__ = ["FAMILIES", "ONE_SIZE", "SIDE", "SIDES", "SMALLER"]

# Shorter texts and smaller images will do; their expected outputs say with which options they were made.
SMALLER: dict[str, dict[str, int]] = {
    "bert_base": {"sequence_length": 16},
    "gpt2_small": {"sequence_length": 16},
    "smollm2_135m": {"sequence_length": 16},
    "unet": {"side": 188},
}

# Models of images with layers that want exactly their size; the others pool what comes, and small images do for them.
ONE_SIZE = {"alexnet", "alexnet_owt", "overfeat", "unet", "vgg11", "vgg13", "vgg16", "vgg19", "vit_b_16"}
SIDE = 64
SIDES = {"inception3": 75, "inception4": 96}  # the least that they take, and that they learn from at once

# A model of each module, the quickest.
FAMILIES = [
    *("acoustic_model", "alexnet", "bert_base", "convnext_tiny", "deep_mnist", "dlrm_small", "efficientnet_b0"),
    *("googlenet", "gpt2_small", "inception3", "inception4", "mobilenet_v3_large", "overfeat", "resnet18"),
    *("sensor_net", "smollm2_135m", "text_cnn", "unet", "vgg11", "vit_b_16"),
]
