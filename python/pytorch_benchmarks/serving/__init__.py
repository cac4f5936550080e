"""Inference under load: queries of MLPerf's load generator (LoadGen), batches made of them, what answers, and what is reported."""
