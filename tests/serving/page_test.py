"""The page in a real headless Chromium (Debian: chromium and chromium-driver), through WebDriver.

WebDriver is JSON over HTTP, so the standard library is enough to speak it.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.request

from absl.testing import absltest
import grpc
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_service_pb2_grpc

from tests import local_server
from tests import served_models

_ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'
_BROWSER = shutil.which('chromium')
_DRIVER = shutil.which('chromedriver')
_AXE = next(
  (
    path
    for path in (
      '/usr/local/lib/node_modules/axe-core/axe.min.js',
      '/usr/lib/node_modules/axe-core/axe.min.js',
      str(pathlib.Path.home() / 'node_modules/axe-core/axe.min.js'),
    )
    if os.path.exists(path)
  ),
  None,
)
_HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
_CONFIG = """model_config_list {
  config { name: 'student' base_path: '%(folder)s/student' model_platform: 'tensorflow' }
  config { name: 'teacher' base_path: '%(folder)s/teacher' model_platform: 'tensorflow' } }"""


class Browser:
  """One headless Chromium behind chromedriver."""

  def __init__(self, folder):
    port = local_server.free_port()
    self._driver = subprocess.Popen([_DRIVER, f'--port={port}'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    self._url = f'http://127.0.0.1:{port}/session'
    arguments = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
      '--window-size=400,800',
      f'--user-data-dir={folder}',
    ]
    capabilities = {
      'alwaysMatch': {
        'goog:chromeOptions': {'binary': _BROWSER, 'args': arguments},
        'goog:loggingPrefs': {'browser': 'ALL', 'performance': 'ALL'},
      }
    }
    deadline = time.monotonic() + 90
    while True:
      try:
        session = self._call('', {'capabilities': capabilities})
        break
      except urllib.error.URLError:
        if time.monotonic() > deadline:
          raise
        time.sleep(0.2)
    self._url += '/' + session['sessionId']

  def _call(self, path, body=None, method='POST'):
    data = json.dumps(body or {}).encode() if method == 'POST' else None
    request = urllib.request.Request(self._url + path, data, {'Content-Type': 'application/json'}, method=method)
    with urllib.request.urlopen(request, timeout=90) as response:
      return json.loads(response.read())['value']

  def open(self, url):
    self._call('/url', {'url': url})

  def type(self, selector, text):
    element = self._call('/element', {'using': 'css selector', 'value': selector})[_ELEMENT]
    self._call(f'/element/{element}/clear')
    self._call(f'/element/{element}/value', {'text': text})

  def click(self, selector):
    element = self._call('/element', {'using': 'css selector', 'value': selector})[_ELEMENT]
    self._call(f'/element/{element}/click')

  def color_scheme(self, scheme):
    """Asks for 'light' or 'dark', as the system would."""
    features = [{'name': 'prefers-color-scheme', 'value': scheme}]
    self._call('/goog/cdp/execute', {'cmd': 'Emulation.setEmulatedMedia', 'params': {'features': features}})

  def screenshot(self):
    return base64.b64decode(self._call('/screenshot', method='GET'))

  def console(self):
    """What it complained of since the last call."""
    return [entry['message'] for entry in self._call('/se/log', {'type': 'browser'})]

  def run(self, script):
    return self._call('/execute/sync', {'script': script, 'args': []})

  def requests(self):
    """What the browser asked the network for since the last call: URL and body."""
    entries = [json.loads(entry['message'])['message'] for entry in self._call('/se/log', {'type': 'performance'})]
    asked = [entry['params']['request'] for entry in entries if entry['method'] == 'Network.requestWillBeSent']
    return [(request['url'], request.get('postData', '')) for request in asked]

  def close(self):
    self._call('', method='DELETE')
    self._driver.terminate()
    self._driver.wait()


@unittest.skipUnless(_BROWSER and _DRIVER, 'needs chromium and chromedriver in PATH')
class PageTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = folder = tempfile.mkdtemp()
    cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
    served_models.save(os.path.join(folder, 'student'), 1, rank=True)
    served_models.save(os.path.join(folder, 'teacher'), 2)
    served_models.save_student(os.path.join(folder, 'texts'), served_models.STUDENTS['student_classes'])
    config = pathlib.Path(folder, 'models.config')
    config.write_text(_CONFIG % {'folder': folder})
    cls.server = local_server.LocalServer(
      [f'--model_config_file={config}', f'--reload_root={folder}'], os.path.join(folder, 'log')
    )
    cls.addClassCleanup(cls.server.stop)
    cls.browser = Browser(os.path.join(folder, 'profile'))
    cls.addClassCleanup(cls.browser.close)

  def setUp(self):
    super().setUp()
    self.browser.open(f'http://{self.server.rest}/')

  def rank(self, query, titles):
    """Types, clicks, and returns the table's cells and the problem shown."""
    self.shown(5)  # The example's answer, before it is cleared.
    self.browser.type('#query', query)
    self.browser.type('#texts', '\n'.join(titles))
    self.browser.click('button')
    return self.shown(len([title for title in titles if title]) + 1)

  def shown(self, num_rows):
    """The table's cells when it has so many rows, and the problem shown."""
    shown = (
      'return [[...document.querySelectorAll("tr")].map(row => [...row.cells].map('
      'cell => cell.textContent)), document.getElementById("problem").textContent]'
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
      table, problem = self.browser.run(shown)
      if problem or len(table) == num_rows:
        return table, problem
      time.sleep(0.1)
    raise TimeoutError(f'nothing was ranked: {table}')

  def test_ranks_by_the_student_beside_the_teacher(self):
    table, problem = self.rank('drill', ['hose', 'cordless drill', 'drill'])
    self.assertEqual(problem, '')
    self.assertRegex(' '.join(table[0]), r'^Title student \([\d.]+ ms\) teacher \([\d.]+ ms\)$')
    expected = []
    for title in ('cordless drill', 'drill', 'hose'):
      logits = [served_models.pair_logit('drill', title, version) for version in (1, 2)]
      expected.append([title, *(f'{served_models.sigmoid(logit):.3f}' for logit in logits)])
    self.assertEqual(table[1:], expected)

  def coloured(self):
    """The words of the table that are coloured, their contributions and whether they are for the score."""
    words = (
      'return [...document.querySelectorAll("td .word")].map(word => [word.textContent, Number(word.title), '
      'getComputedStyle(word).getPropertyValue("--side").includes("150")])'
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
      found = self.browser.run(words)
      if found:
        return found
      time.sleep(0.1)
    raise TimeoutError('no word was coloured')

  def test_words_are_coloured_by_what_they_contribute(self):
    self.rank('drill', ['cordless drill', '電動x'])
    # A byte more is an eighth more; a word left out leaves its space.
    self.assertEqual(
      self.coloured(),
      [['cordless', 1, True], ['drill', 0.625, True], ['電', 0.375, True], ['動', 0.375, True], ['x', 0.125, True]],
    )
    self.assertIn(
      "contribute to student's score", self.browser.run('return document.getElementById("legend").innerText')
    )

  def test_single_texts_of_named_classes(self):
    self.reload('texts')
    self.addCleanup(self.reload, 'student', 'teacher')
    self.browser.open(f'http://{self.server.rest}/')
    table, problem = self.shown(3)
    self.assertEqual((problem, table[0][0]), ('', 'Text'))
    self.assertFalse(self.browser.run('return document.getElementById("query-label").checkVisibility()'))
    names = served_models.STUDENTS['student_classes'].classes
    for _, shares in table[1:]:
      found = [share.split() for share in shares.split(', ')]
      self.assertCountEqual([name for name, _ in found], names)
      self.assertEqual([share for _, share in found], sorted((share for _, share in found), reverse=True))
    self.assertLen(self.coloured(), 4 + 3)  # Of the two texts that it opens with.

  def reload(self, *names):
    request = model_management_pb2.ReloadConfigRequest()
    for name in names:
      request.config.model_config_list.config.add(
        name=name, model_platform='tensorflow', base_path=os.path.join(self.folder, name)
      )
    with grpc.insecure_channel(self.server.grpc) as channel:
      model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=60)

  def test_what_it_shows_is_text(self):
    table, _ = self.rank(_HOSTILE, [_HOSTILE, 'hose'])
    self.assertIn(_HOSTILE, [row[0] for row in table])
    self.assertEqual(self.browser.run('return document.title'), 'Try the student')
    self.coloured()
    self.assertEqual(self.browser.run('return document.querySelectorAll("td :not(span), td span *").length'), 0)

  def test_an_error_is_shown(self):
    _, problem = self.rank('drill', [''])
    self.assertIn('put one title on each line', problem)

  def test_asks_nobody_but_the_server(self):
    self.browser.requests()
    self.browser.open(f'http://{self.server.rest}/')
    self.rank('drill', ['hose'])
    self.coloured()
    asked = self.browser.requests()
    self.assertNotEmpty(asked)
    home = f'http://{self.server.rest}/'
    self.assertEqual([url for url, _ in asked if not url.startswith((home, 'data:'))], [])
    bodies = [json.loads(body) for _, body in asked if body][-3:]
    self.assertEqual(
      bodies,
      [
        {'signature_name': 'rank', 'inputs': {'query': ['drill'], 'title': ['hose']}},  # The teacher has no rank.
        {'inputs': {'query': ['drill'], 'title': ['hose']}},
        {'signature_name': 'rank', 'inputs': {'query': ['drill'], 'title': ['hose', '']}},  # Without its only word.
      ],
    )

  def test_opens_with_an_example_and_no_complaint(self):
    self.browser.console()
    self.browser.open(f'http://{self.server.rest}/')
    table, problem = self.shown(5)
    self.assertEqual((table[0][0], problem), ('Title', ''))
    self.assertEqual(self.browser.console(), [])

  def test_fits_a_phone(self):
    self.shown(5)
    self.assertLessEqual(*self.browser.run('return [document.documentElement.scrollWidth, innerWidth]'))
    self.assertGreaterEqual(self.browser.run('return document.querySelector("h1").getBoundingClientRect().left'), 12)

  @unittest.skipUnless(_AXE, 'needs axe-core: npm install -g axe-core')
  def test_accessible_in_light_and_dark(self):
    for scheme in ('light', 'dark'):
      self.browser.color_scheme(scheme)
      self.shown(5)
      self.coloured()
      found = self.browser.run(
        pathlib.Path(_AXE).read_text(encoding='utf-8')
        + '; return axe.run().then(found => found.violations.map(violation => [violation.id, violation.help]))'
      )
      self.assertEqual(found, [], scheme)

  def test_policy_forbids_other_scripts(self):
    with urllib.request.urlopen(f'http://{self.server.rest}/') as response:
      policy = response.headers['Content-Security-Policy']
    self.assertIn("default-src 'none'", policy)
    ran = self.browser.run(
      'const script = document.createElement("script"); script.textContent = "window.ran = 1";'
      'document.body.append(script); return window.ran === undefined'
    )
    self.assertTrue(ran)


if __name__ == '__main__':
  absltest.main()
