"""Builds the C++ harness against the installed TensorFlow and runs it on a SavedModel.

`libtensorflow_cc` and its headers ship in the TensorFlow wheel: a C++17 compiler is all it needs.
The binary is cached under a hash of its source and of TensorFlow's version and path.
"""

from collections.abc import Mapping
import hashlib
import importlib.util
import json
import os
import pathlib
import subprocess

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from b2d import huge_pages

CACHE_DIR = '~/.cache/b2d-benchmark'
SOURCE = pathlib.Path(__file__).with_name('harness.cc')


def build(cache_dir: str = CACHE_DIR) -> str:
  """Compiles `harness.cc` unless `cache_dir` has it already.

  Args:
    cache_dir: folder of the binaries, made if missing.

  Returns:
    The binary's path.

  Raises:
    ValueError: the compiler fails; with the end of what it said.
    OSError: there is no `g++`.
  """
  lib_dir = tf.sysconfig.get_lib()
  key = SOURCE.read_bytes() + f'{tf.__version__} {lib_dir}'.encode()
  binary = pathlib.Path(cache_dir).expanduser() / f'harness-{hashlib.sha256(key).hexdigest()[:16]}'
  if binary.exists():
    return str(binary)
  binary.parent.mkdir(parents=True, exist_ok=True)
  unfinished = f'{binary}.{os.getpid()}'
  # --no-as-needed: nothing refers to the kernels by name, they register themselves when loaded.
  command = [
    'g++',
    '-O2',
    '-w',
    *tf.sysconfig.get_compile_flags(),
    '-std=c++17',
    '-pthread',
    str(SOURCE),
    '-o',
    unfinished,
    f'-L{lib_dir}',
    '-Wl,--no-as-needed',
    '-l:libtensorflow_cc.so.2',
    '-l:libtensorflow_framework.so.2',
    f'-Wl,-rpath,{lib_dir}',
  ]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    raise ValueError(f'{SOURCE}: g++ failed; needed are g++ with C++17 and the TensorFlow wheel: {done.stderr[-2000:]}')
  os.rename(unfinished, binary)
  return str(binary)


def op_libraries(model_dir: str) -> list[str]:
  """Returns the TF Text libraries that hold ops of the SavedModel which TensorFlow lacks."""
  saved_model = saved_model_pb2.SavedModel.FromString(pathlib.Path(model_dir, 'saved_model.pb').read_bytes())
  ops = saved_model.meta_graphs[0].meta_info_def.stripped_op_list.op
  missing = [op.name.encode() for op in ops if not hasattr(tf.raw_ops, op.name)]
  spec = importlib.util.find_spec('tensorflow_text')
  if not missing or spec is None or spec.origin is None:
    return []
  libraries = pathlib.Path(spec.origin).parent.glob('python/ops/*.so')
  return sorted(str(path) for path in libraries if any(name in path.read_bytes() for name in missing))


def run(binary: str, model_dir: str, texts: str, environment: Mapping[str, str], **flags) -> dict:
  """Runs the harness in a process of its own.

  Args:
    binary: what `build` returned.
    model_dir: folder of the SavedModel.
    texts: TSV whose header names the signature's inputs.
    environment: see `run_json`.
    **flags: further flags of the harness, by name.

  Returns:
    load_secs, first_call_secs, first_outputs (of the first row, by name), resident_mb (after the
    first call), peak_resident_mb, and cells: a list of {workload, rows, threads, calls, median_us,
    p99_us, min_us, calls_per_sec, rows_per_sec}; of one row and one thread also spin_p99_us, the p99
    of a loop of arithmetic as long as the median.

  Raises:
    ValueError: the harness fails; with the end of what it printed.
    OSError: there is no SavedModel.
  """
  flags = {'model': model_dir, 'texts': texts, **flags}
  libraries = op_libraries(model_dir)
  if libraries:
    flags['op_libraries'] = ','.join(libraries)
  command = [binary, *(f'--{name}={value}' for name, value in flags.items())]
  return run_json(command, environment)


def run_json(command: list[str], environment: Mapping[str, str]) -> dict:
  """Runs a command that prints JSON, in this process' environment and `environment`; ValueError if it fails."""
  # One thread a call is what is measured, whatever library computes it.
  one_thread = {'TOKENIZERS_PARALLELISM': 'false', 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
  done = subprocess.run(
    command,
    capture_output=True,
    text=True,
    check=False,
    # Huge pages, as a student's export asks for them, for every model; GLIBC_TUNABLES= tries without.
    env={**huge_pages.ENVIRONMENT, **os.environ, 'TF_CPP_MIN_LOG_LEVEL': '2', **one_thread, **environment},
  )
  if done.returncode:
    raise ValueError(f'{" ".join(command)}: exit code {done.returncode}: {done.stderr[-1000:]}')
  return json.loads(done.stdout)
