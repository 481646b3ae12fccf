"""Lowers TensorFlow functions to HLO, examines them, and compiles them for TPUs without having one.

The compiler for TPUs comes with jax, which needs another NumPy than TensorFlow 2.15:
`semppl.benchmarks.instruments.aot_compiler` runs in a process and an environment of its own.
"""

import contextlib
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from semppl.benchmarks.instruments import aot_compiler
from semppl.layers import collectives

HOW_TO = (
    "python3.11 -m venv .venv-tpu && .venv-tpu/bin/pip install "
    f"{' '.join(f'{name}=={version}' for name, version in aot_compiler.PINS.items())}"
)
_ON_THE_HOST = ("infeed", "outfeed", "send", "recv", "send-done", "recv-done")
_EXPANDED = ("Eigh",)
"""Targets of custom calls that the compiler replaces by operations of the device."""


class Cost(NamedTuple):
    """Compiler's counts for one program; all but `flops` in bytes.

    Attributes:
        topology: TPU slice of the compilation.
        flops: Floating-point operations per call.
        accessed: Memory traffic of all operations.
        arguments: Variables and inputs; updated variables reuse their memory.
        temporaries: Peak memory beyond the arguments.
        code: Size of the program.
    """

    topology: str
    flops: float
    accessed: float
    arguments: int
    temporaries: int
    code: int


class CompilationError(ValueError):
    """Raised if a program cannot run on TPUs, or if the compiler is missing."""


@contextlib.contextmanager
def one_of(replicas: int) -> Iterator[None]:
    """Traces functions in the block as the program of one of several replicas, without communication."""
    with mock.patch.object(collectives, "num_replicas", return_value=replicas):
        yield


def lower(function: Callable[..., Any], *inputs: tf.TensorSpec) -> hlo_pb2.HloModuleProto:
    """Traces a function of tensors of static shapes, and lowers it to HLO; nothing runs."""
    compiled = tf.function(function, jit_compile=True)
    serialised = compiled.experimental_get_compiler_ir(*inputs)(stage="hlo_serialized")
    return hlo_pb2.HloModuleProto.FromString(serialised)


def problems(module: hlo_pb2.HloModuleProto) -> list[str]:
    """Returns the obstacles to running a program on a TPU alone: calls to the host, and dynamic shapes."""
    found = []
    for instruction in _instructions(module):
        where = f"{instruction.metadata.op_type} {instruction.metadata.op_name}".strip() or instruction.name
        if instruction.opcode in _ON_THE_HOST:
            found.append(f"{instruction.opcode} of {where} talks to the host")
        if instruction.opcode == "custom-call" and instruction.custom_call_target not in _EXPANDED:
            found.append(f"custom call {instruction.custom_call_target} of {where}")
        if any(instruction.shape.is_dynamic_dimension):
            found.append(f"{instruction.opcode} of {where} has a dynamic shape")
    return found


def elide_copies(module: hlo_pb2.HloModuleProto) -> None:
    """Lets every user of a copy use the original, in place: StableHLO has no copies."""
    for computation in module.computations:
        original = {i.id: i.operand_ids[0] for i in computation.instructions if i.opcode == "copy"}

        def resolve(number: int, original: dict[int, int] = original) -> int:
            while number in original:
                number = original[number]
            return number

        for instruction in computation.instructions:
            instruction.operand_ids[:] = [resolve(number) for number in instruction.operand_ids]
        computation.root_id = resolve(computation.root_id)
        kept = [instruction for instruction in computation.instructions if instruction.opcode != "copy"]
        del computation.instructions[:]
        computation.instructions.extend(kept)


def check_compiler(python: str) -> None:
    """Raises CompilationError if a Python has no jax and libtpu; call this first, since lowering takes minutes."""
    imports = [python or "none", "-c", "import jax, libtpu"]
    try:
        failed = subprocess.run(imports, capture_output=True, check=False).returncode != 0
    except OSError:
        failed = True
    if failed:
        raise CompilationError(
            f"--jax_python must be the Python of an environment with jax and libtpu. Received: {python or 'none'}. "
            f"To make one: {HOW_TO}"
        )


def compile_ahead(module: hlo_pb2.HloModuleProto, topologies: Sequence[str], python: str) -> Iterator[Cost]:
    """Compiles a program for each TPU, in another process.

    Args:
        module: Program to compile.
        topologies: Names of TPU slices, as in `v5e:2x2`; the program is that of one core.
        python: Interpreter that passes `check_compiler`.

    Yields:
        The compiler's counts, for each TPU.

    Raises:
        CompilationError: if the program has problems, or the compiler rejects it.
    """
    if found := problems(module):
        raise CompilationError(f"A program for TPUs must not call the host or have open shapes. Received: {found[0]}")
    elide_copies(module)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "program.hlo"
        path.write_bytes(module.SerializeToString())
        for topology in topologies:
            yield _compiled(path, topology, python)


def _compiled(path: pathlib.Path, topology: str, python: str) -> Cost:
    finished = subprocess.run(
        [python, aot_compiler.__file__, str(path), topology], capture_output=True, text=True, check=False
    )
    answer = json.loads(finished.stdout.splitlines()[-1]) if finished.returncode == 0 else {}
    if "rejected" in answer or not answer:
        reason = answer.get("rejected") or finished.stderr.strip().splitlines()[-1:]
        raise CompilationError(f"--topologies must be TPUs that can run the program. Received: {topology}, {reason}")
    return Cost(topology, **answer)


def _instructions(module: hlo_pb2.HloModuleProto) -> Iterator[Any]:
    for computation in module.computations:
        yield from computation.instructions
