"""One file per family of models. A file in this directory that registers a model is all that adding one takes."""
