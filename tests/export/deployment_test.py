"""The files for docker compose, Kubernetes and KServe: YAML with the flags of the server, by Kubernetes' own schema."""

import importlib.util
import unittest

from absl.testing import absltest
import yaml

from export import deployment

_FLAG = '--tensorflow_session_config_file=/models/Shop_1/session_latency.config'


class DeploymentTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.found = {
      name: list(yaml.safe_load_all(text)) for name, text in deployment.files('Shop_1', '2.15', 'student').items()
    }

  def test_flags_and_names(self):
    (compose,) = self.found['compose.yaml']
    serving = compose['services']['Shop_1']
    self.assertIn(_FLAG, serving['command'])
    self.assertEqual(serving['volumes'], ['.:/models/Shop_1:ro'])
    self.assertEqual(serving['environment'], {'TF_ENABLE_ONEDNN_OPTS': '0'})
    deployed, service = self.found['kubernetes.yaml']
    (container,) = deployed['spec']['template']['spec']['containers']
    self.assertIn(_FLAG, container['args'])
    self.assertEqual(container['readinessProbe']['httpGet']['path'], '/v1/models/Shop_1/metadata')
    self.assertEqual(service['spec']['selector'], deployed['spec']['template']['metadata']['labels'])
    (inference,) = self.found['kserve.yaml']
    self.assertEqual(inference['spec']['predictor']['model']['storageUri'], 'pvc://shop-1-models/Shop_1')

  @unittest.skipUnless(importlib.util.find_spec('kubernetes_validate'), 'needs kubernetes-validate')
  def test_by_the_schema_of_kubernetes(self):
    import kubernetes_validate

    for document in self.found['kubernetes.yaml']:
      kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


if __name__ == '__main__':
  absltest.main()
