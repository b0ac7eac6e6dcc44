"""TensorFlow SavedModels and TFLite files as networks of torch, read by the front ends of OpenVINO."""
