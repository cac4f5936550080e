"""Run a program to its exit code: every error is one line, and the results so far are kept.

The traceback of an external model (`--pack`, `--architecture`) is information for its author: it is printed, beginning with the first line of
that model. Other tracebacks are printed only with `--debug`.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from benchmark_core.crash import cannot_write, keep
from benchmark_core.exits import UNFORESEEN, WRONG_INPUT, BenchmarkError, LostReplicaError, OutOfMemoryError, UsageError
from benchmark_core.log import Log
from benchmark_core.options import ModelOptions
from benchmark_core.text import printable

REASONS = "PYTORCH_BENCHMARKS_REASONS"  # environment variable of the replicas: directory of their reasons
ADVICE = "save model.state_dict() with torch.save"
# The beginning of torch's advice to load with `weights_only=False`, which would run code from the file.
_ADVISES = re.compile(r"Weights only load failed|`weights_only` (argument )?(in|set to)|weights_only=False")
# Builders do not check the values of their options: layers and other packages raise errors of any other type about them.
_OF_OTHER_CAUSES = (ImportError, MemoryError, OSError)

# Messages of PyTorch, CUDA, cuBLAS, cuDNN, XLA and ONNX Runtime for insufficient memory; PyTorch's allocator has its own exception.
_NO_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "Out of memory",
    "OUT_OF_MEMORY",  # CUDA_ERROR_, hipError
    "ALLOC_FAILED",  # CUBLAS_STATUS_, CUDNN_STATUS_, ...
    "ALLOCATION_FAILED",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_, CUDNN_STATUS_INTERNAL_ERROR_HOST_: cuDNN 9
    "RESOURCE_EXHAUSTED",
    "Failed to allocate memory",
    "std::bad_alloc",
)

# Messages of CUDA and PyTorch for operations that a CUDA graph cannot contain.
_CAPTURE = (
    *("when stream is capturing", "during capture", "graph capture"),
    *("capturing stream has unjoined work", "on uncaptured work", "depend on a capturing"),
)
_NONDETERMINISTIC = " does not have a deterministic implementation"

# Messages of torch.distributed and its backends for the loss of another process.
_CONNECTIONS = ("DistBackendError", "DistNetworkError", "DistStoreError")
_LOST = ("gloo/transport/", "Connection closed by peer", "Connection reset by peer")
# NCCL's names of errors of this process itself, and its message for a /dev/shm that is too small.
_OF_THIS_REPLICA = ("ncclInvalidUsage", "ncclInvalidArgument", "ncclUnhandledCudaError", "shared memory segment")


def run(work: Callable[[], None], options: ModelOptions, log: Log) -> int:
    """Do the work of a program and return its exit code: 0 success, 1 failure, 2 invalid options, 3 out of memory, 70 unforeseen, 77 skipped,
    130 interrupted.

    Args:
        work: Raises errors.
        options: The request, and the path of the result file.
        log: Receives the reason of a failure.
    """
    code = _guarded(work, options, log)
    log.end()
    if options.json:
        try:
            log.write(options.json)
        except OSError as error:
            return code or _fail(f"--json: cannot write {options.json}: {error}", UsageError.exit_code, log)
    return code


def check_writable(flag: str, path: str, *, may_be_made: bool = False) -> None:
    """Check before hours of work that a file can be written after them.

    Args:
        flag: Option that names the file.
        path: Path of the file; empty for none.
        may_be_made: Whether its directory may be created later.

    Raises:
        UsageError: The file cannot be written.
    """
    directory = os.path.dirname(os.path.abspath(path))
    while may_be_made and not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    if path and not (os.path.isdir(directory) and os.access(directory, os.W_OK)):
        raise UsageError(f"{flag} {path}: the directory {directory} does not exist or cannot be written to")


def _guarded(work: Callable[[], None], options: ModelOptions, log: Log) -> int:
    try:
        check_writable("--json", options.json)
        work()
    except BenchmarkError as error:
        if options.debug:
            traceback.print_exc(file=sys.stdout)
        else:
            _print_external(error.__cause__, options)
        return _fail(str(error), error.exit_code, log)
    except KeyboardInterrupt:
        return _fail("interrupted", 130, log)
    except Exception as error:
        if isinstance(error, OSError) and (problem := cannot_write()):
            return _fail(problem, WRONG_INPUT, log)
        if options.debug:
            traceback.print_exc(file=sys.stdout)
        explained = explain(error, options)
        if explained is None:
            return _fail(keep(error), UNFORESEEN, log)
        return _fail(str(explained), explained.exit_code, log, is_lost=isinstance(explained, LostReplicaError))
    return 0


def explain(error: Exception, options: ModelOptions) -> BenchmarkError | None:
    """The error that a user can act on; None if the cause is unknown. Prints the traceback of an architecture or pack, unless `--debug` does."""
    if isinstance(error, BenchmarkError):
        if not options.debug:
            _print_external(error.__cause__, options)
        return error
    explained = _explain(error, options)
    if (
        not options.debug
        and not isinstance(explained, (LostReplicaError, OutOfMemoryError))
        and _print_external(error, options)
        and explained is None
    ):
        return BenchmarkError(f"{type(error).__name__}: {reason(error) if str(error) else 'no message'}")
    return explained


def _print_external(error: BaseException | None, options: ModelOptions) -> bool:
    """Print the part of a traceback inside an external model; False if there is none."""
    if error is None:
        return False
    architecture = getattr(options, "architecture", "")
    places = [
        architecture and os.path.dirname(os.path.abspath(architecture)),
        getattr(options, "pack", ""),
    ]
    homes = tuple(os.path.join(os.path.realpath(place), "") for place in places if place)
    where = error.__traceback__
    while where is not None and not os.path.realpath(where.tb_frame.f_code.co_filename).startswith(homes):
        where = where.tb_next
    if where is not None:
        lines = traceback.format_exception(type(error), error, where)
        print(without_advice("".join(lines), error), end="")
    return where is not None


def _fail(message: str, exit_code: int, log: Log, *, is_lost: bool = False) -> int:
    line = printable(" ".join(message.split()))  # it may have contents of a file
    is_printed = leave_reason(line, exit_code, is_lost=is_lost)  # of several replicas, one error
    log.failure(line, is_printed=is_printed)
    if not is_printed:
        print(f"error: {line}", file=sys.stderr, flush=True)
    return exit_code


def lacks_memory(error: Exception) -> bool:
    """Whether an error of a framework or the system means that memory does not suffice."""
    if isinstance(error, MemoryError):  # of Python and NumPy
        return True
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _NO_MEMORY)


def lacks_connection(error: Exception) -> bool:
    """Whether an error of a replica means that it cannot communicate with the others."""
    is_replica = "TORCHELASTIC_RUN_ID" in os.environ
    return is_replica and (type(error).__name__ in _CONNECTIONS or any(words in str(error) for words in _LOST))


def _explain(error: Exception, options: ModelOptions) -> BenchmarkError | None:
    """Convert an error of a framework or the system to one that users can act on; None if it is unforeseen."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError):
        return BenchmarkError(f"a file cannot be read as tensors: {reason(error)}")
    if lacks_memory(error):
        return OutOfMemoryError(
            f"out of memory: {options.model} with batch size {options.batch_size} in {options.dtype} does not fit; "
            f"try a smaller --batch_size ({text.splitlines()[0] if text else type(error).__name__})"
        )
    if lacks_connection(error):
        return _explain_connection(text)
    if text.startswith("DataLoader worker") and "is killed by signal" in text:
        return BenchmarkError(f"a data loader process died: {text}")
    if getattr(options, "cuda_graphs", False) and any(words in text for words in _CAPTURE):
        return UsageError(
            f"--cuda_graphs: {options.model} has an operation that waits for the device or copies from the host, which a CUDA graph "
            f"cannot contain: omit --cuda_graphs ({text.splitlines()[0]})"
        )
    if _NONDETERMINISTIC in text:
        operation = text.partition(_NONDETERMINISTIC)[0].rpartition(" ")[2]
        return UsageError(
            f"--deterministic: {options.model} has an operation without a deterministic implementation on this device, {operation}: "
            "omit --deterministic"
        )
    if "not implemented for" in text:
        return UsageError(
            f"{options.model} has an operation that does not support {options.dtype} on this device: use another --dtype, or --amp, "
            f"which computes such operations in float32 ({text})"
        )
    if type(error).__module__.startswith("torch._inductor") or type(error).__module__.startswith("torch._dynamo"):
        reason_given = text.splitlines()[0] if text else type(error).__name__
        return BenchmarkError(f"--compile {getattr(options, 'compile', '')}: {reason_given}")
    if isinstance(error, OSError) and error.filename is not None:  # a full disk, or a deleted file
        return BenchmarkError(f"{error.filename}: {error.strerror}")
    return None


def _explain_connection(text: str) -> BenchmarkError:
    """Convert the message of a backend of torch.distributed; NCCL's has the cause behind `Last error:`."""
    lines = text.splitlines() or ["no message"]
    cause = text.partition("Last error:")[2].strip().splitlines()
    what = ": ".join([lines[0], *cause[:1]])
    if not any(words in text for words in _OF_THIS_REPLICA):
        return LostReplicaError(f"the connection to another replica was lost: {what}")
    advice = "; enlarge /dev/shm (docker run --shm-size=8g, or --ipc=host)" if "shared memory segment" in text else ""
    return BenchmarkError(f"replicas cannot communicate: {what}{advice}")


def end(exit_code: int) -> NoReturn:
    """Exit the interpreter at once: its teardown with torch takes 0.4 s.

    Workers have ended with the benchmark, except those of torch.compile, which are terminated in the usual way; those of a failed replica
    end by themselves, since the teardown of its process group might wait for the other replicas.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    is_failed_replica = exit_code != 0 and "TORCHELASTIC_RUN_ID" in os.environ
    if "torch._inductor.async_compile" in sys.modules and not is_failed_replica:
        sys.exit(exit_code)
    os._exit(exit_code)


def reason(error: BaseException) -> str:
    """Why something cannot be read or imported, in one line, without torch's advice to run code from a file."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) or _ADVISES.search(text):
        found = re.search(r"GLOBAL (\S+)", text)
        if found:
            return f"it contains an object of {found[1]}, which is not loaded because it could run code; {ADVICE}"
        return f"it is damaged, or contains more than tensors and plain data; {ADVICE}"
    return first_line(error)


def without_advice(text: str, error: BaseException) -> str:
    """Remove torch's advice from a text about an error, such as its traceback; the advice may be that of its causes."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        if _ADVISES.search(str(one)):
            text = text.replace(str(one), reason(one))
        one = one.__cause__ or one.__context__
    return text


def first_line(error: BaseException) -> str:
    """First line of its message, with the next one if it only introduces that, or the name of its class."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def leave_reason(reason: str, exit_code: int, *, is_lost: bool) -> bool:
    """In a replica: pass the reason of a failure to the program that started it.

    Args:
        reason: One line.
        exit_code: Exit code of this replica, unless it is terminated first.
        is_lost: Whether only the connection to another replica failed, which then has the better reason.

    Returns:
        Whether that program prints the reason.
    """
    place = os.environ.get(REASONS)
    if not place:
        return False
    try:
        with open(reason_file(place, os.environ.get("LOCAL_RANK", "0")), "w", encoding="utf-8") as stream:
            left = {"reason": reason, "exit_code": exit_code, "time": time.time(), "is_lost": is_lost}
            json.dump(left, stream)
    except OSError:  # a full disk: the reason is printed here
        return False
    return True


def reason_file(place: str, rank: str) -> str:
    """Path of the reason of the replica with this local rank."""
    return os.path.join(place, f"{rank}.json")


@contextmanager
def built_with(
    model_opts: Mapping[str, Any], model: str, blamed: Callable[[str], str] = lambda message: ""
) -> Iterator[None]:
    """Build a model inside this context: errors about its options are one about `--model_opts`.

    Args:
        model_opts: The options.
        model: Its name.
        blamed: Returns an addition to an error's message: which of the options is the reason.

    Raises:
        UsageError: The model does not have one of the options, or rejects its value.
    """
    try:
        yield
    except BenchmarkError:
        raise
    except Exception as error:
        is_of_options = isinstance(error, TypeError) or (
            model_opts and not isinstance(error, _OF_OTHER_CAUSES) and not lacks_memory(error)
        )
        if not is_of_options:
            raise
        raise misfit(model, error, blamed(first_line(error))) from error


def misfit(model: str, error: Exception, addition: str = "") -> UsageError:
    """The error about options that an error of a model is due to."""
    return UsageError(f"--model_opts do not fit {model}: {first_line(error)}{addition}")
