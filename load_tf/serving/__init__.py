"""Serving: a segmentor as a SavedModel that needs nothing but TensorFlow, and labelling of images with one."""
