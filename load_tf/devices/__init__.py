"""Where TensorFlow runs: threads, GPUs, several machines, 16 bits, and what replicas share."""
