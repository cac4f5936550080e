"""Options that benchmarks and training share: the model, its data, and how the machine is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytorch_benchmarks.options.kinds import json_object, whole
from pytorch_benchmarks.options.option import option

__all__ = ["CommonOptions"]

DTYPES = ("float", "float32", "tf32", "float16", "bfloat16", "int8")
DEVICES = ("auto", "cpu", "gpu", "cuda", "mps", "xpu")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
BACKENDS = ("caffe_lmdb", "image_folder")
BACKENDS_OF_REPLICAS = ("auto", "nccl", "gloo", "mpi", "ucc", "xccl")
LOADERS = ("threads", "processes")
CROPS = ("random_resized", "random_crop_mirror", "center")


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """A model, its data, and how a machine is used."""

    model: str = option(
        "", "Model to run, such as alexnet; an unknown name is answered with the closest ones.", metavar="NAME"
    )
    model_opts: dict[str, Any] = option(  # noqa: RUF009
        {}, "Options of the model's builder, as a JSON object.", json_object, metavar="JSON"
    )
    architecture: str = option(
        "", "Python file that registers models beside those of pytorch_benchmarks.", metavar="FILE"
    )
    weights: str = option(
        "",
        "Trained weights: an entry (.json), a file of tensors (.pt) or, outside containers, the name of an entry. Random weights if empty.",
        metavar="FILE",
    )
    batch_size: int = option(16, "Instances in one batch of one replica.", whole(1))
    num_gpus: int = option(1, "GPUs to use, the first ones of CUDA_VISIBLE_DEVICES; 0 is the CPU.", whole(0))
    num_replicas: int = option(
        0, "Processes, one model replica each; 0 is one for each GPU, or one on the CPU.", whole(0)
    )
    num_nodes: int = option(1, "Machines that take part; the program is started on each.", whole(1))
    node_rank: int = option(0, "Which of the machines this is, from 0; the first one reports.", whole(0))
    rendezvous: str = option("", "Where the machines meet: an address of node 0, and a free port.", metavar="HOST:PORT")
    rendezvous_timeout: int = option(600, "Seconds that machines wait there for each other.", whole(1))
    device: str = option(
        "auto",
        "Device that computes; gpu is whichever kind PyTorch finds (CUDA, ROCm, XPU, MPS), auto is that or else the CPU.",
        choices=DEVICES,
    )
    dist_backend: str = option(
        "auto",
        "How replicas communicate; auto takes nccl between CUDA and ROCm GPUs, xccl between XPUs, and gloo between CPUs.",
        choices=BACKENDS_OF_REPLICAS,
    )
    local_rank: int = option(
        -1,
        "Number of this process on its node, as older launchers pass it (torch.distributed.launch); torchrun sets LOCAL_RANK instead. -1 is none.",
        whole(-1),
    )
    dtype: str = option(
        "float32",
        "Type of weights, inputs and arithmetic; float is float32. What PyTorch or the device does not do, such as int8, is skipped.",
        choices=DTYPES,
    )
    amp: bool = option(
        False,
        "Keep weights in float32 and compute in the given data type where that is safe (autocast; float16 gradients are scaled).",
    )
    compile: str = option(
        "",
        "Mode of torch.compile; empty does not compile.",
        choices=("", *COMPILE_MODES),
        metavar="MODE",
        alone="default",
    )
    data_dir: str = option("", "Directory of a data set. Synthetic data if empty.", metavar="DIR")
    data_backend: str = option(
        "caffe_lmdb",
        "How the data set is stored: caffe_lmdb is an LMDB of Caffe's Datum records, image_folder one directory of images per class.",
        choices=BACKENDS,
    )
    num_loader_threads: int = option(
        4, "Workers that read and decode data; 0 reads the data between the batches.", whole(0)
    )
    data_loader: str = option(
        "auto",
        "Whether the workers that load data are threads or processes; auto takes processes for a GPU, threads for a CPU.",
        choices=("auto", *LOADERS),
    )
    crop: str = option(
        "auto",
        "Which part of an image becomes the model's input; auto crops at random for training and takes the center for inference.",
        choices=("auto", *CROPS),
    )
    max_image_pixels: int = option(
        100_000_000,
        "Most pixels, height times width, that an image may have: larger ones are errors, because a small file can claim any size.",
        whole(1),
    )
    num_threads: int = option(
        0, "Threads that compute on the CPU; 0 is PyTorch's own choice, one for each core.", whole(0)
    )
    channels_last: bool = option(
        False, "Store images with the channels last (NHWC), which makes many convolutions faster."
    )
    deterministic: bool = option(
        False, "Use only deterministic algorithms. They cost speed, and turn cudnn_benchmark off."
    )
    cudnn_benchmark: bool = option(
        True, "Let cuDNN time its convolution algorithms on the first batches and keep the fastest."
    )
    cudnn_fastest: bool = option(
        False, "With cudnn_benchmark, let cuDNN try every algorithm, whatever workspace it needs."
    )
    seed: int = option(1, "Seed of weights, inputs and shuffling.", int)
    json: str = option("", "File for all results as one JSON object, besides the log lines.", metavar="FILE")
    debug: bool = option(False, "Print the traceback of an error.")
