"""The limits of batching and the choice of models and versions, without a server."""

import os
import tempfile

from absl import app
from absl import flags
from absl.testing import absltest
from absl.testing import flagsaver
from absl.testing import parameterized
from google.protobuf import text_format
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.config import model_server_config_pb2

from export import serving_configs
from serving import server
from serving.local_server import inference
from serving.local_server import options
from serving.local_server import servable
from serving.local_server import status
from serving.local_server import versions
from tests import served_models


def setUpModule():
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


class ServerTest(parameterized.TestCase):
  def file(self, content):
    return self.create_tempfile(content=content).full_path

  @parameterized.parameters(
    (serving_configs._BATCHING, 10_000),  # As shipped: a request of 10,000 rows passes.
    ('max_execution_batch_size { value: 8 }', 1000),  # shared_batch_scheduler.h, input_batch_size_limit.
    ('max_batch_size { value: 64 } enable_large_batch_splitting { value: true }', 64),
  )
  def test_batching_bounds_a_request(self, content, expected):
    with flagsaver.flagsaver(enable_batching=True, batching_parameters_file=self.file(content)):
      self.assertEqual(server._max_rows(), expected)
    with flagsaver.flagsaver(enable_batching=True):
      self.assertEqual(server._max_rows(), 1000)

  def test_the_file_of_models_wins_over_the_one_base_path(self):
    content = 'model_config_list { config { name: "a" base_path: "/b" } }'
    with flagsaver.flagsaver(model_config_file=self.file(content), model_base_path='/c'):
      (model,) = server._model_config().model_config_list.config
    self.assertEqual((model.name, model.base_path), ('a', '/b'))
    with self.assertRaises(app.UsageError):
      server._model_config()

  @parameterized.parameters(
    ('', {3}),
    ('latest { num_versions: 2 }', {2, 3}),
    ('all {}', {1, 2, 3}),
    ('specific { versions: 1 versions: 7 }', {1}),
  )
  def test_policies(self, policy, expected):
    found = {1: '1', 2: '2', 3: '003'}
    model = text_format.Parse(f'model_version_policy {{ {policy} }}', model_server_config_pb2.ModelConfig())
    self.assertEqual(versions._aspired_versions(found, model.model_version_policy), expected)

  def test_batching_takes_rank_of_one_title_alone(self):
    folder = tempfile.mkdtemp(dir=self.create_tempdir().full_path)
    path = served_models.save(os.path.join(folder, 'pair'), rank=True)

    def rank(titles, **settings):
      request = predict_pb2.PredictRequest()
      request.model_spec.signature_name = 'rank'
      for name, texts in (('query', ['a']), ('title', titles)):
        request.inputs[name].CopyFrom(tf.make_tensor_proto(texts, tf.string))
      model = servable.Servable('pair', 1, path, options.Options(**settings))
      return tf.make_ndarray(inference.predict(model, request).outputs['logit']).tolist()

    expected = [served_models.pair_logit('a', title) for title in ('b', 'cd')]
    self.assertEqual(rank(['b', 'cd']), expected)
    self.assertEqual(rank(['b'], batching=True), expected[:1])
    # batching_session.cc, ComputeInputSize.
    with self.assertRaisesRegex(status.StatusError, 'equal 0th-dimension size'):
      rank(['b', 'cd'], batching=True)


if __name__ == '__main__':
  absltest.main()
