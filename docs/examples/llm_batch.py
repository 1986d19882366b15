r"""Lets a large language model judge query–title pairs through a batch API, for `b2d.label --scores_columns` to import.

    python docs/examples/llm_batch.py requests --rows=rows.tsv --output=requests.jsonl
    python docs/examples/llm_batch.py fake --requests=requests.jsonl --output=responses.jsonl
    python docs/examples/llm_batch.py scores --rows=rows.tsv --responses=responses.jsonl --output=scored.jsonl
    python -m b2d.label --input_files=scored.jsonl --text_columns=query,title --label_column=label \
        --scores_columns=p_relevant --output_dir=runs/mine/llm

Requests and responses have the shape of OpenAI's batch API, which others have taken over: a JSON object a line, in any
order, paired by `custom_id`. In place of `fake`, which answers by words that query and title share, upload the requests
and download the responses. The model answers with one word, and its probability is read off the log-probabilities of
that word: p = P(yes) / (P(yes) + P(no)). Requests that failed leave their rows out, and are counted.
"""

import argparse
from collections.abc import Iterator
import csv
import json
import math

_PROMPT = (
  'A shopper searched for: {query}\nThe shop showed: {title}\nIs this product what the shopper wants? Answer yes or no.'
)


def read(path: str) -> Iterator[tuple[str, dict[str, str]]]:
  """(custom_id, row): the number of the line tells rows apart."""
  with open(path, encoding='utf-8', newline='') as file:
    for number, row in enumerate(csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE), 2):
      yield f'row-{number}', row


def request(custom_id: str, row: dict[str, str], model: str) -> dict:
  return {
    'custom_id': custom_id,
    'method': 'POST',
    'url': '/v1/chat/completions',
    'body': {
      'model': model,
      'messages': [{'role': 'user', 'content': _PROMPT.format(**row)}],
      'max_tokens': 1,
      'temperature': 0,
      'logprobs': True,
      'top_logprobs': 10,
    },
  }


def fake(asked: dict) -> dict:
  """What the provider would send back; here by words in common, and an error without any word."""
  query, title = (
    set(line.partition(': ')[2].lower().split()) for line in asked['body']['messages'][0]['content'].split('\n')[:2]
  )
  if not query:
    return {'custom_id': asked['custom_id'], 'response': None, 'error': {'code': 'server_error'}}
  p = 0.05 + 0.9 * len(query & title) / len(query)
  top = [{'token': 'Yes', 'logprob': math.log(p)}, {'token': 'No', 'logprob': math.log(1 - p)}]
  choice = {'message': {'role': 'assistant', 'content': 'Yes'}, 'logprobs': {'content': [{'top_logprobs': top}]}}
  return {
    'custom_id': asked['custom_id'],
    'response': {'status_code': 200, 'body': {'choices': [choice]}},
    'error': None,
  }


def probability(answered: dict) -> float | None:
  """P(yes) against P(no); None if the request failed or the model said something else."""
  if answered.get('error') or answered['response']['status_code'] != 200:
    return None
  mass = {'yes': 0.0, 'no': 0.0}
  for token in answered['response']['body']['choices'][0]['logprobs']['content'][0]['top_logprobs']:
    word = token['token'].strip().lower()
    if word in mass:
      mass[word] += math.exp(token['logprob'])
  return mass['yes'] / sum(mass.values()) if sum(mass.values()) else None


def scored(rows: str, responses: str) -> Iterator[dict]:
  """The rows that were answered, and p_relevant."""
  by_id = {answered['custom_id']: probability(answered) for answered in _read_lines(responses)}
  for custom_id, row in read(rows):
    p = by_id.get(custom_id)
    if p is not None:
      yield {**row, 'p_relevant': p}


def _read_lines(path: str) -> list[dict]:
  with open(path, encoding='utf-8') as file:
    return [json.loads(line) for line in file]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('step', choices=('requests', 'fake', 'scores'))
  parser.add_argument('--rows', help='TSV with query and title, and label where it is known.')
  parser.add_argument('--requests')
  parser.add_argument('--responses')
  parser.add_argument('--output', required=True)
  parser.add_argument('--model', default='gpt-4.1-mini')
  arguments = parser.parse_args()
  if arguments.step == 'requests':
    made = [request(custom_id, row, arguments.model) for custom_id, row in read(arguments.rows)]
  elif arguments.step == 'fake':
    made = [fake(asked) for asked in reversed(_read_lines(arguments.requests))]
  else:
    made = list(scored(arguments.rows, arguments.responses))
    missing = sum(1 for _ in read(arguments.rows)) - len(made)
    print(f'{arguments.output}: {missing} rows without an answer left out')
  with open(arguments.output, 'w', encoding='utf-8') as file:
    file.writelines(json.dumps(each, ensure_ascii=False) + '\n' for each in made)
  print(f'{arguments.output}: {len(made)} lines')


if __name__ == '__main__':
  main()
