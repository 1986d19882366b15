"""JSON ↔ messages where the test models do not reach: other types, bytes, NaN."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.local_server import json_tensor
from serving.local_server import options
from serving.local_server import status


def _fill(values, dtype, key='inputs'):
  info = meta_graph_pb2.TensorInfo(dtype=dtype.as_datatype_enum)
  return json_tensor.inputs({key: values}, {'x': info}, options.Options().check_rows)[0]['x']


def _answer(rows=False, **outputs):
  return json_tensor.dump(json_tensor.predict_answer(outputs, rows)).decode()


class JsonTensorTest(parameterized.TestCase):
  @parameterized.parameters(
    ([1, 2.5, float('nan')], tf.float32), ([[1], [2]], tf.int64), ([True, False], tf.bool), (3, tf.int32)
  )
  def test_values(self, values, dtype):
    np.testing.assert_array_equal(_fill(values, dtype), np.array(values, dtype.as_numpy_dtype))

  def test_nan_and_infinity_are_read(self):
    document = json_tensor.parse(b'{"inputs": [NaN, -Infinity]}')
    self.assertEqual(str(document['inputs']), '[nan, -inf]')

  @parameterized.parameters(
    ([True], tf.int32),
    ([1.5], tf.int32),
    ([1 << 31], tf.int32),
    ([1], tf.bool),
    (['1'], tf.float32),
    ([{'b64': 'YQ=='}], tf.float32),
    ([[1], [2, 3]], tf.int64),
    ([1, [2]], tf.int64),
    ([1], tf.complex64),
  )
  def test_refused(self, values, dtype):
    with self.assertRaises(status.StatusError):
      _fill(values, dtype)

  @parameterized.parameters('instances', 'inputs')
  def test_too_many_rows_are_refused_before_they_are_converted(self, key):
    class Untouchable(list):
      def __getitem__(self, index):
        raise AssertionError('a row was looked at')

    with self.assertRaisesRegex(status.StatusError, 'Task size 10001 is larger than maximum input batch size 10000'):
      _fill(Untouchable(['a'] * 10001), tf.string, key)

  def test_lone_surrogates_are_refused(self):
    with self.assertRaisesRegex(status.StatusError, 'surrogate'):
      _fill(['\ud800'], tf.string)

  @parameterized.parameters(
    (np.float32([0.2, 1, np.nan, np.inf, -np.inf, 1e-7]), '{"outputs": [0.2, 1.0, NaN, Infinity, -Infinity, 1e-07]}'),
    (np.int64([[1, 2]]), '{"outputs": [[1, 2]]}'),
    (np.array(7), '{"outputs": 7}'),
    (np.array(['ü'.encode()], object), '{"outputs": ["ü"]}'),
  )
  def test_one_output_goes_without_its_name(self, value, expected):
    self.assertEqual(_answer(y=value), expected)

  def test_outputs_named_bytes_are_base64(self):
    self.assertEqual(_answer(y_bytes=np.array([b'a'], object)), '{"outputs": [{"b64": "YQ=="}]}')

  def test_rows_need_a_common_size(self):
    self.assertEqual(
      _answer(True, a=np.array([1, 2]), b=np.array([3, 4])), '{"predictions": [{"a": 1, "b": 3}, {"a": 2, "b": 4}]}'
    )
    with self.assertRaisesRegex(status.StatusError, 'inconsistent'):
      _answer(True, a=np.array([1, 2]), b=np.array([3]))


if __name__ == '__main__':
  absltest.main()
