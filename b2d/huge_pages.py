"""Huge pages for what a process allocates, by glibc 2.35 or later on Linux or by jemalloc; elsewhere it does nothing.

A training, and a served student, looks up rows all over its table: with small pages, above all on a virtual machine, a
good part of its time goes into finding where they lie.
"""

import os
import sys

ENVIRONMENT = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}

# jemalloc in place of glibc's allocator, where that is installed: it hands out small tensors sooner, of which one row
# takes dozens. A training, and a teacher's labels, are as fast without.
JEMALLOC = {'LD_PRELOAD': 'libjemalloc.so.2', 'MALLOC_CONF': 'thp:always,metadata_thp:always'}


def use() -> None:
  """Begins this process anew, as the same one, with `ENVIRONMENT`, unless the variable is set.

  glibc reads it at a process' start alone, so this is called before there is anything to lose.
  """
  if sys.platform == 'linux' and not ENVIRONMENT.keys() & os.environ.keys():
    os.execve(sys.executable, sys.orig_argv, os.environ | ENVIRONMENT)
