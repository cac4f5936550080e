"""The models, one module each: functions of a dictionary of parameters with the names and shapes of the PyTorch model."""
