"""Where TensorFlow runs: strategies, workers that come and go, precision, and what replicas share."""
