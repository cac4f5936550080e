"""The core that all rooms share: experiments, logs, files, texts, warnings, errors."""
