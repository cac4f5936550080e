"""The work on a batch: training, inference, ingestion, generation."""
