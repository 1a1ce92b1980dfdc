"""A segmentor as a SavedModel or a TFLite file that needs nothing but TensorFlow, and labelling images with it."""
