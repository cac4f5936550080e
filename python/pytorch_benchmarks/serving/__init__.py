"""Inference under load: MLPerf's load generator (LoadGen), dynamic batching, models and servers under load, and their results."""
