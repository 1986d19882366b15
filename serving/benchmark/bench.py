"""Measures exported students and their rivals in one run: results.json, report.md, accuracy.png.

    python -m serving.benchmark.bench --students=student=exported/1 --auc=student=0.74 \
        --texts=valid.tsv.gz --text_columns=query,title --vocab=vocab.txt --output=benchmark

Every model is measured alone, in a process of its own: SavedModels in the C++ harness, students
from Python as well. Rivals are built once, into `--models`. It needs the extra
`bench` and a machine that does nothing else. docs/benchmark.md tells how to read it.
"""

import ctypes.util
import dataclasses
import json
import os
import pathlib
import platform
import resource
import sys
import time

from absl import flags
from absl import logging
import onnxruntime
import tensorflow as tf

from b2d import huge_pages
from serving import binary
from serving.benchmark import baselines
from serving.benchmark import encoders
from serving.benchmark import harness
from serving.benchmark import picture
from serving.benchmark import report
from serving.benchmark import timing

_STUDENTS = flags.DEFINE_list('students', [], 'name=folder of each exported SavedModel.')
_AUC = flags.DEFINE_list('auc', [], "name=AUC of the models to plot, by the table's names.")
_TEXTS = flags.DEFINE_string('texts', None, 'TSV of real texts with a header line, .gz or not.')
_TEXT_COLUMNS = flags.DEFINE_list('text_columns', None, 'Its columns for query,title or text.')
_MAX_ROWS = flags.DEFINE_integer('max_rows', 20000, 'Rows of --texts to use, drawn at random.')
_OUTPUT = flags.DEFINE_string('output', None, 'Folder of the result.')
_MODELS = flags.DEFINE_string('models', harness.CACHE_DIR, 'Folder of the built rivals.')
_VOCAB = flags.DEFINE_string('vocab', None, 'A BERT vocab.txt, for encoders and model2vec.')
_ENCODERS = flags.DEFINE_list('encoders', list(encoders.SIZES), 'Encoders to measure.')
_LENGTHS = flags.DEFINE_list('lengths', '32,64,128', 'Tokens that an encoder pads to.')
_BASELINES = flags.DEFINE_list('baselines', 'fasttext,model2vec,hashing', 'Other libraries to measure.')
_WORKLOADS = flags.DEFINE_list(
  'workloads',
  '1,8,64,1x100,rank100,512',
  'Rows a request; 1x100: one query with 100 titles; rank100: the same by the signature `rank`, in C++.',
)
_THREADS = flags.DEFINE_list('threads', '1,2', 'Numbers of calling threads.')
_SECONDS = flags.DEFINE_float('seconds', 1, 'How long to call, for each figure.')
_MAX_CALL_SECS = flags.DEFINE_float('max_call_secs', 5, 'Leave out requests that take longer.')
_ALLOCATOR = flags.DEFINE_enum(
  'allocator',
  'glibc',
  ['glibc', 'jemalloc'],
  "What gives every model its memory; jemalloc as in an export's Dockerfile.",
)

# As the README that the exporter writes tells TensorFlow Serving: oneDNN prepares longer than one row's product takes.
# The other SavedModels are left as they are: theirs are larger.
_STUDENTS_ONEDNN = os.environ.get('TF_ENABLE_ONEDNN_OPTS', '0')


@dataclasses.dataclass(frozen=True)
class Subject:
  """One row of the table.

  Attributes:
    name: the model's name.
    runtime: what runs it; 'C++' is the harness.
    kind: 'harness', or a kind of `baselines.load`.
    folder: where the model is.
    tokens: what an encoder pads to, else None.
  """

  name: str
  runtime: str
  kind: str
  folder: str
  tokens: int | None = None


def pairs(flag: flags.FlagHolder) -> dict[str, str]:
  """Returns a flag of name=value items as a dict; ValueError if one has no `=`."""
  for item in flag.value:
    if '=' not in item:
      raise ValueError(f'--{flag.name}: expected name=value, found {item}')
  return dict(item.split('=', 1) for item in flag.value)


def build_subjects(texts: timing.Columns) -> list[Subject]:
  """Builds the rivals that the flags ask for; returns all that is to be measured."""
  if (_ENCODERS.value or 'model2vec' in _BASELINES.value) and not _VOCAB.value:
    raise ValueError('--vocab: encoders and model2vec need a BERT vocab.txt; found none')
  subjects = []
  for name, folder in pairs(_STUDENTS).items():
    subjects += [Subject(name, 'C++', 'harness', folder), Subject(name, 'Python', 'tensorflow', folder)]
  # What the rivals depend on names their folder, so that no stale one is measured.
  models = pathlib.Path(_MODELS.value).expanduser() / '-'.join([*texts, *_LENGTHS.value])
  models.mkdir(parents=True, exist_ok=True)
  lengths = [int(length) for length in _LENGTHS.value]
  for name in _ENCODERS.value:
    folder = str(models / name)
    encoders.build(name, _VOCAB.value, list(texts), lengths, folder)
    subjects += [Subject(name, 'C++', 'harness', f'{folder}/saved_model', n) for n in lengths]
    subjects += [Subject(name, 'ONNX int8', 'onnx', f'{folder}/onnx', n) for n in lengths]
  for kind in _BASELINES.value:
    baselines.build(kind, str(models / kind), texts, _VOCAB.value)
    subjects.append(Subject(kind, 'Python', kind, str(models / kind)))
  if not subjects:
    raise ValueError('--students, --encoders, --baselines: expected a model to measure, found none')
  return subjects


def measure(subject: Subject, harness_path: str, texts: str) -> dict:
  """Measures one subject in a process of its own; returns its fields with `harness.run`'s."""
  values = {'seconds': _SECONDS.value, 'max_call_secs': _MAX_CALL_SECS.value}
  environment = {'TF_ENABLE_ONEDNN_OPTS': _STUDENTS_ONEDNN} if subject.name in pairs(_STUDENTS) else {}
  if _ALLOCATOR.value == 'jemalloc':
    environment |= huge_pages.JEMALLOC
  if subject.kind == 'harness':
    signature = f'tokens_{subject.tokens}' if subject.tokens else 'serving_default'
    return dataclasses.asdict(subject) | harness.run(
      harness_path,
      subject.folder,
      texts,
      environment,
      signature=signature,
      threads=','.join(_THREADS.value),
      workloads=','.join(_WORKLOADS.value),
      **values,
    )
  values |= {
    'kind': subject.kind,
    'folder': subject.folder,
    'tokens': subject.tokens,
    'texts': texts,
    'workloads': _WORKLOADS.value,
    'threads': [int(threads) for threads in _THREADS.value],
  }
  return dataclasses.asdict(subject) | harness.run_json(
    [sys.executable, '-m', 'serving.benchmark.baselines', json.dumps(values)], environment
  )


def others_cpu_secs() -> float:
  """Returns the processor seconds used so far by processes other than this one's children."""
  with open('/proc/stat', encoding='utf-8') as file:
    user, nice, system, _, _, irq, soft_irq, steal = map(int, file.readline().split()[1:9])
  total = (user + nice + system + irq + soft_irq + steal) / os.sysconf('SC_CLK_TCK')
  mine = resource.getrusage(resource.RUSAGE_CHILDREN)
  return total - mine.ru_utime - mine.ru_stime


def machine() -> str:
  """Returns processor, cores, and versions, in one line."""
  with open('/proc/cpuinfo', encoding='utf-8') as file:
    names = [line.split(':')[1].strip() for line in file if line.startswith('model name')]
  return (
    f'{names[0] if names else platform.machine()}, {os.cpu_count()} cores; Python '
    f'{platform.python_version()}, TensorFlow {tf.__version__}, '
    f'ONNX Runtime {onnxruntime.__version__}, {_ALLOCATOR.value}'
  )


def run() -> str:
  """Builds, measures and writes what the flags ask for; returns the report."""
  if _ALLOCATOR.value == 'jemalloc' and not ctypes.util.find_library('jemalloc'):
    raise ValueError('--allocator=jemalloc: found no libjemalloc.so.2; install it (Debian, Ubuntu: libjemalloc2)')
  output, results, left_out = pathlib.Path(_OUTPUT.value), [], []
  output.mkdir(parents=True, exist_ok=True)
  auc_of = {name: float(auc) for name, auc in pairs(_AUC).items()}
  texts = timing.read_texts(_TEXTS.value, _TEXT_COLUMNS.value, _MAX_ROWS.value)
  harness_path, subjects = harness.build(_MODELS.value), build_subjects(texts)
  texts_path = output / 'texts.tsv'
  texts_path.write_text('\n'.join(map('\t'.join, [tuple(texts), *zip(*texts.values())])) + '\n')
  for number, subject in enumerate(subjects, 1):
    start, used_secs = time.time(), others_cpu_secs()
    try:
      result = measure(subject, harness_path, str(texts_path))
    except (ValueError, OSError) as error:  # The others are still worth measuring.
      left_out.append(f'{subject.name}, {subject.runtime}, tokens {subject.tokens or "all"}')
      logging.error('%s: left out: %s', left_out[-1], error)
      continue
    files = [path for path in pathlib.Path(subject.folder).rglob('*') if path.is_file()]
    result['disk_mb'] = sum(path.stat().st_size for path in files) / 2**20
    result['others_cores'] = (others_cpu_secs() - used_secs) / (time.time() - start)
    results.append(result)
    logging.info(
      '%d of %d: %s, %s, tokens %s: %.1f us',
      number,
      len(subjects),
      subject.name,
      subject.runtime,
      subject.tokens or 'all',
      result['cells'][0]['median_us'],
    )
    (output / 'results.json').write_text(
      json.dumps({'machine': machine(), 'command': sys.argv, 'auc': auc_of, 'results': results}, indent=1)
    )
  texts_path.unlink()  # the texts may not be ours to keep
  if not results:
    raise ValueError('no model could be measured; the log says why')
  text = (
    f'{machine()}; {len(next(iter(texts.values())))} rows of '
    f'{os.path.basename(_TEXTS.value)}; {_SECONDS.value:g} s a figure.\n\n'
    f'{report.busy(results)}{report.table(results)}'
  )
  if left_out:
    text += f'\nLeft out, as they failed: {"; ".join(left_out)}.\n'
  (output / 'report.md').write_text(text)
  if auc_of:
    points = [picture.Quality(name, auc, name) for name, auc in auc_of.items()]
    picture.draw(report.timings(results), points, str(output / 'accuracy.png'))
  return text


def main(words: list[str]) -> None:
  del words
  print(run())


if __name__ == '__main__':
  flags.mark_flags_as_required(['texts', 'output'])
  binary.run(main)
