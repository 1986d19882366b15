"""A local test server: answers gRPC and REST as TensorFlow Serving does, without Docker."""
