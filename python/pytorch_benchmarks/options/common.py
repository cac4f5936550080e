"""Options that benchmarks and training share: the model, its data, and the use of the machine."""

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
        "", "Model to run, such as alexnet; for an unknown name, the closest ones are suggested.", metavar="NAME"
    )
    model_opts: dict[str, Any] = option(  # noqa: RUF009
        {}, "Options of the model's builder, as a JSON object.", json_object, metavar="JSON"
    )
    architecture: str = option(
        "", "Python file that registers models in addition to those of pytorch_benchmarks.", metavar="FILE"
    )
    weights: str = option(
        "",
        "Trained weights: an entry (.json), a tensor file (.pt) or, outside containers, the name of an entry. If empty, random weights.",
        metavar="FILE",
    )
    batch_size: int = option(16, "Instances in one batch of one replica.", whole(1))
    num_gpus: int = option(
        1,
        "Number of GPUs, the first ones of CUDA_VISIBLE_DEVICES; 0 is the CPU. Two or more are never replaced by the CPU.",
        whole(0),
    )
    num_replicas: int = option(
        0, "Processes with one model replica each; 0 is one per GPU, or one on the CPU.", whole(0)
    )
    num_nodes: int = option(1, "Number of nodes; the program is started on each.", whole(1))
    node_rank: int = option(0, "Rank of this node, from 0; node 0 reports results.", whole(0))
    rendezvous: str = option(
        "", "Rendezvous address of the nodes: an address of node 0, and a free port.", metavar="HOST:PORT"
    )
    rendezvous_timeout: int = option(600, "Seconds that nodes wait for each other at the rendezvous.", whole(1))
    device: str = option(
        "auto",
        "Device that computes; gpu is any type that PyTorch finds (CUDA, ROCm, XPU, MPS), auto is that or else the CPU.",
        choices=DEVICES,
    )
    dist_backend: str = option(
        "auto",
        "Communication backend of replicas; auto selects nccl for CUDA and ROCm GPUs, xccl for XPUs, and gloo for CPUs.",
        choices=BACKENDS_OF_REPLICAS,
    )
    local_rank: int = option(
        -1,
        "Local rank of this process, as older launchers pass it (torch.distributed.launch); torchrun sets LOCAL_RANK instead. -1 is none.",
        whole(-1),
    )
    dtype: str = option(
        "float32",
        "Type of weights, inputs and arithmetic; float is float32. Types that PyTorch or the device does not support, such as int8, are skipped.",
        choices=DTYPES,
    )
    amp: bool = option(
        False,
        "Keep weights in float32 and compute in the given data type where that is safe (autocast; float16 gradients are scaled).",
    )
    compile: str = option(
        "",
        "Mode of torch.compile; if empty, the model is not compiled.",
        choices=("", *COMPILE_MODES),
        metavar="MODE",
        alone="default",
    )
    data_dir: str = option("", "Directory of a data set. If empty, synthetic data.", metavar="DIR")
    data_backend: str = option(
        "caffe_lmdb",
        "Format of the data set: caffe_lmdb is an LMDB of Caffe's Datum records, image_folder one directory of images per class.",
        choices=BACKENDS,
    )
    num_loader_threads: int = option(4, "Workers that read and decode data; 0 reads data between batches.", whole(0))
    data_loader: str = option(
        "auto",
        "Type of the workers that load data; auto selects processes for a GPU, threads for a CPU.",
        choices=("auto", *LOADERS),
    )
    crop: str = option(
        "auto",
        "Crop of an image that becomes the model's input; auto crops randomly for training and at the centre for inference.",
        choices=("auto", *CROPS),
    )
    max_image_pixels: int = option(
        100_000_000,
        "Maximum number of pixels (height times width) of an image. Larger images are errors, because a small file can claim any size.",
        whole(1),
    )
    num_threads: int = option(0, "Threads that compute on the CPU; 0 is PyTorch's default, one per core.", whole(0))
    channels_last: bool = option(False, "Store images with channels last (NHWC), which makes many convolutions faster.")
    deterministic: bool = option(
        False, "Use only deterministic algorithms. This reduces speed, and disables cudnn_benchmark."
    )
    cudnn_benchmark: bool = option(
        True, "Let cuDNN time its convolution algorithms on the first batches and use the fastest."
    )
    cudnn_fastest: bool = option(
        False, "With cudnn_benchmark, let cuDNN try every algorithm, regardless of the workspace that it needs."
    )
    seed: int = option(1, "Random seed for weights, inputs and shuffling.", int)
    json: str = option("", "File for all results as one JSON object, in addition to the log lines.", metavar="FILE")
    debug: bool = option(False, "Print the traceback of an error.")
