"""Compiles a program for a TPU without having one: a process with jax and libtpu, and without TensorFlow.

    python aot_compiler.py PROGRAM.hlo v5e:2x2

Prints one line of JSON: the compiler's counts, or its reason for rejecting the program. jax compiles ahead of time through public
functions for its own programs only; the functions used here are private, hence the exact versions.
"""

import json
import os
import pathlib
import sys
from typing import Any

PINS = {"jax": "0.10.2", "libtpu": "0.0.52"}

_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",  # else libtpu asks the cloud's metadata server, for minutes
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def compile_for(hlo: bytes, topology: str) -> dict[str, Any]:
    """Compiles a program for one core of a TPU.

    Args:
        hlo: Serialised HloModuleProto, without copies.
        topology: Name of a TPU slice, as in `v5e:2x2`.

    Returns:
        Counts by name: flops; and in bytes, accessed, arguments, temporaries and code.
    """
    import numpy as np
    from jax._src import compiler
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax
    from jax._src.lib.mlir import ir
    from jax.experimental import topologies

    devices = tuple(topologies.get_topology_desc(topology, platform="tpu").devices[:1])
    options = compiler.get_compile_options(num_replicas=1, num_partitions=1, device_assignment=np.array([[0]]))
    with mlir.make_ir_context():
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(hlo))
        executable = devices[0].client.compile(
            module, executable_devices=_jax.DeviceList(devices), compile_options=options
        )
    counted = executable.cost_analysis()
    counted = counted[0] if isinstance(counted, list) else counted
    memory = executable.get_compiled_memory_stats()
    return {
        "flops": counted["flops"],
        "accessed": counted["bytes accessed"],
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
    }


def main() -> None:
    """Compiles the program of the command line and prints the counts."""
    os.environ.update(_ENVIRONMENT)
    path, topology = sys.argv[1:]
    from jax.errors import JaxRuntimeError

    try:
        answer = compile_for(pathlib.Path(path).read_bytes(), topology)
    except JaxRuntimeError as error:
        answer = {"rejected": str(error).splitlines()[0]}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # libtpu's threads would not end


if __name__ == "__main__":
    main()
