"""What is done with a batch: training, inference."""
