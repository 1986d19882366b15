"""HTML of a report: the page around it, sections and tables. Texts are escaped, unless they are `Markup`."""

from collections.abc import Sequence
import html
import re

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation</title>
<style>
:root { color-scheme: light dark; --line: #bbb; }
@media (prefers-color-scheme: dark) { :root { --line: #666; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
section { break-inside: avoid-page; }
span { print-color-adjust: exact; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top; }
td { overflow-wrap: break-word; max-width: 24rem; }
td:first-child { min-width: 7rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.curves { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } img { max-width: 100%%; width: 27rem; background: white; }
@media print { body { font-size: 10px; max-width: none; } .wide { overflow: visible; } img { width: 20rem; } }
</style>
%s
</html>
"""


class Markup(str):
  """A cell that is HTML already."""


def section(title: str, content: str) -> str:
  """A part of the page with a heading, at the anchor '#its-heading'."""
  anchor = re.sub(r'\W+', '-', title.lower())
  return f'<section id="{html.escape(anchor)}"><h2>{html.escape(title)}</h2>{content}</section>'


def table(lines: Sequence[Sequence[str]]) -> str:
  """A table of text; the first line is its header."""
  header, *rows = lines
  if not rows:
    return '<p>None.</p>'
  head = ''.join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
  body = ''.join('<tr>' + ''.join(map(_cell, row)) + '</tr>\n' for row in rows)
  return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _cell(text: str) -> str:
  if isinstance(text, Markup):
    return f'<td>{text}</td>'
  is_number = text == '–' or text.lstrip('+−-')[:1].isdecimal() and not any(char.isalpha() for char in text)
  return f'<td class="number">{html.escape(text)}</td>' if is_number else f'<td>{html.escape(text)}</td>'
