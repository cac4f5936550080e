"""The models, one module each: functions of a dictionary of parameters, whose names and shapes are those of the PyTorch model."""
