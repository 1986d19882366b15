"""Where people deploy: files for Docker, docker compose, Kubernetes and KServe beside the versions.

No Docker daemon and no cluster has met them.
"""

import json
import string

from b2d import huge_pages

# What the server's process is started with, by kind of model.
ENVIRONMENT = {
  'student': {
    'TF_ENABLE_ONEDNN_OPTS': '0',  # oneDNN prepares longer than one row's product takes.
    **huge_pages.ENVIRONMENT,
  },
  'teacher': {},
}

_FLAGS = string.Template("""\
        - --model_config_file=/models/$name/model.config
        - --monitoring_config_file=/models/$name/monitoring.config
        - --tensorflow_session_config_file=/models/$name/session_latency.config
        - --tensorflow_intra_op_parallelism=1
        - --tensorflow_inter_op_parallelism=-1
""")

# Of a student: a teacher's tensors are few and large.
_DOCKERFILE = string.Template("""# docker build -t serving-jemalloc - < Dockerfile
# TensorFlow Serving with jemalloc: a request of few rows is answered sooner. Pin the release that you have tested:
# $release or later.
FROM tensorflow/serving
RUN apt-get update && apt-get install -y --no-install-recommends libjemalloc2 && rm -rf /var/lib/apt/lists/*
ENV $jemalloc
""")

_COMPOSE = string.Template("""# docker compose up, in this folder
services:
  $name:
    image: tensorflow/serving  # Pin the release that you have tested: $release or later.
    command:
$flags    environment: $environment
    volumes:
      - .:/models/$name:ro
    ports:
      - 127.0.0.1:8500:8500
      - 127.0.0.1:8501:8501
    restart: unless-stopped
""")

_KUBERNETES = string.Template("""# kubectl apply -f kubernetes.yaml
# The volume claim $object-models holds this folder under the name $name.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: $object
spec:
  replicas: 2
  selector:
    matchLabels:
      app: $object
  template:
    metadata:
      labels:
        app: $object
    spec:
      containers:
      - name: serving
        image: tensorflow/serving  # Pin the release that you have tested: $release or later.
        args:
$flags        env: $env
        ports:
        - name: grpc
          containerPort: 8500
        - name: rest
          containerPort: 8501
        readinessProbe:  # The metadata is there only when a version has been loaded and warmed up.
          httpGet:
            path: /v1/models/$name/metadata
            port: rest
          periodSeconds: 5
        resources:
          requests:
            cpu: "1"
            memory: 1Gi
          limits:
            memory: 2Gi
        volumeMounts:
        - name: models
          mountPath: /models
          readOnly: true
      volumes:
      - name: models
        persistentVolumeClaim:
          claimName: $object-models
          readOnly: true
---
apiVersion: v1
kind: Service
metadata:
  name: $object
spec:
  selector:
    app: $object
  ports:
  - name: grpc
    port: 8500
    targetPort: grpc
  - name: rest
    port: 8501
    targetPort: rest
""")

_KSERVE = string.Template("""# kubectl apply -f kserve.yaml; a tenth of the traffic goes to what was changed last
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: $object
spec:
  predictor:
    canaryTrafficPercent: 10
    minReplicas: 1
    model:
      modelFormat:
        name: tensorflow
      storageUri: pvc://$object-models/$name
      args:
      - --tensorflow_session_config_file=/mnt/models/session_latency.config
      - --tensorflow_intra_op_parallelism=1
      - --tensorflow_inter_op_parallelism=-1
      env: $env
      resources:
        requests:
          cpu: "1"
          memory: 1Gi
        limits:
          memory: 2Gi
""")


def files(model_name: str, lowest_release: str, kind: str) -> dict[str, str]:
  """The files' names and contents; arguments as of `serving_configs.write`, whose `needs` has the lowest release."""
  environment = ENVIRONMENT[kind]
  named = {
    'name': model_name,
    # Kubernetes knows lower case, digits and hyphens alone.
    'object': model_name.lower().replace('_', '-').replace('.', '-').strip('-') or 'model',
    'release': lowest_release,
    # In JSON, which is YAML too.
    'environment': json.dumps(environment),
    'env': json.dumps([{'name': name, 'value': value} for name, value in environment.items()]),
    'flags': _FLAGS.substitute(name=model_name),
    'jemalloc': ' '.join(f'{name}={value}' for name, value in huge_pages.JEMALLOC.items()),
  }
  templates = {'compose.yaml': _COMPOSE, 'kubernetes.yaml': _KUBERNETES, 'kserve.yaml': _KSERVE}
  if kind == 'student':
    templates['Dockerfile'] = _DOCKERFILE
  return {name: template.substitute(named) for name, template in templates.items()}
