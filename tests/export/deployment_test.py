"""The files for docker compose, Kubernetes and KServe: the server's flags and paths, and each format's own schema."""

import importlib.util
import sys
import types
import unittest

from absl.testing import absltest
from absl.testing import parameterized
import yaml

from b2d import huge_pages
from export import deployment

_FLAG = '--tensorflow_session_config_file=/models/Shop_1/session_latency.config'
_CONTAINER_FIELDS = ('args', 'env', 'resources')


def _needs(module):
  return unittest.skipUnless(importlib.util.find_spec(module), f'needs {module}: make venv')


def _kserve_models():
  """KServe's generated classes, without the rest of its SDK, which asks for an older protobuf than TensorFlow's."""
  package = types.ModuleType('kserve')
  package.__path__ = list(importlib.util.find_spec('kserve').submodule_search_locations)
  with absltest.mock.patch.dict(sys.modules, kserve=package):
    from kserve import models
  return models


def _unknown_fields(models, type_name, value, path=''):
  """Yields what a KServe type does not have or holds of another type; Kubernetes' own types are left out."""
  scalars = {'str': str, 'int': int, 'bool': bool}
  if type_name.startswith('list['):
    for index, item in enumerate(value):
      yield from _unknown_fields(models, type_name[len('list[') : -1], item, f'{path}[{index}]')
  elif hasattr(models, type_name):
    known = getattr(models, type_name)
    types_by_key = {key: known.openapi_types[name] for name, key in known.attribute_map.items()}
    for key, item in value.items():
      if key not in types_by_key:
        yield f'{path}.{key}'
      else:
        yield from _unknown_fields(models, types_by_key[key], item, f'{path}.{key}')
  elif type_name in scalars and not isinstance(value, scalars[type_name]):
    yield f'{path}: {value!r} is no {type_name}'


class DeploymentTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.texts = deployment.files('Shop_1', '2.15', 'student')
    self.dockerfile = self.texts.pop('Dockerfile')
    self.found = {name: list(yaml.safe_load_all(text)) for name, text in self.texts.items()}

  def test_flags_and_names(self):
    (compose,) = self.found['compose.yaml']
    serving = compose['services']['Shop_1']
    self.assertIn(_FLAG, serving['command'])
    self.assertEqual(serving['volumes'], ['.:/models/Shop_1:ro'])
    self.assertEqual(serving['environment'], deployment.ENVIRONMENT['student'])
    deployed, service = self.found['kubernetes.yaml']
    (container,) = deployed['spec']['template']['spec']['containers']
    self.assertIn(_FLAG, container['args'])
    self.assertEqual({each['name']: each['value'] for each in container['env']}, deployment.ENVIRONMENT['student'])
    self.assertEqual(container['readinessProbe']['httpGet']['path'], '/v1/models/Shop_1/metadata')
    self.assertEqual(service['spec']['selector'], deployed['spec']['template']['metadata']['labels'])
    (inference,) = self.found['kserve.yaml']
    self.assertEqual(inference['spec']['predictor']['model']['storageUri'], 'pvc://shop-1-models/Shop_1')

  def test_an_image_with_jemalloc_for_students(self):
    lines = [line for line in self.dockerfile.splitlines() if not line.startswith('#')]
    self.assertEqual([line.split()[0] for line in lines], ['FROM', 'RUN', 'ENV'])
    self.assertIn(' libjemalloc2 ', lines[1])
    self.assertEqual(dict(pair.split('=', 1) for pair in lines[2].split()[1:]), huge_pages.JEMALLOC)
    self.assertNotIn('Dockerfile', deployment.files('Shop_1', '2.15', 'teacher'))

  @_needs('kubernetes_validate')
  def test_by_the_schema_of_kubernetes(self):
    import kubernetes_validate

    def validate(document):
      kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)

    for document in self.found['kubernetes.yaml']:
      validate(document)
    # KServe's model is a container of Kubernetes with fields of its own, which the next test looks at.
    model = self.found['kserve.yaml'][0]['spec']['predictor']['model']
    container = {'name': 'model', **{field: model[field] for field in _CONTAINER_FIELDS}}
    validate({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'a'}, 'spec': {'containers': [container]}})
    container['resources'] = {'limit': {}}
    with self.assertRaises(kubernetes_validate.ValidationError):
      validate({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'a'}, 'spec': {'containers': [container]}})

  @_needs('kserve')
  def test_by_the_schema_of_kserve(self):
    models, (inference,) = _kserve_models(), self.found['kserve.yaml']
    self.assertEqual((inference['apiVersion'], inference['kind']), ('serving.kserve.io/v1beta1', 'InferenceService'))
    self.assertEmpty(list(_unknown_fields(models, 'V1beta1InferenceService', inference)))
    predictor = inference['spec']['predictor']
    predictor |= {'canaryTraffic': 10, 'minReplicas': 'one'}
    predictor['model']['modelFormat'] = {'named': 'tensorflow'}
    self.assertEqual(
      sorted(_unknown_fields(models, 'V1beta1InferenceService', inference)),
      [
        '.spec.predictor.canaryTraffic',
        ".spec.predictor.minReplicas: 'one' is no int",
        '.spec.predictor.model.modelFormat.named',
      ],
    )

  @_needs('compose_spec')
  def test_by_the_specification_of_compose(self):
    import compose_spec

    text = self.texts['compose.yaml']
    compose = compose_spec.PyCompose.from_yaml(text)
    compose.validate()
    self.assertEqual(compose.service_names(), ['Shop_1'])
    for right, wrong in (('    volumes:', '    volume:'), ('unless-stopped', 'sometimes'), (':8501:8501', ':8501:x')):
      with self.assertRaises(ValueError, msg=wrong):
        compose_spec.PyCompose.from_yaml(text.replace(right, wrong))


if __name__ == '__main__':
  absltest.main()
