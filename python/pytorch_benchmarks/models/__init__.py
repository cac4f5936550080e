"""One file per family of models. A model is added by a file in this directory that registers it."""
