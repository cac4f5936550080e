"""The core that all rooms share: experiments, logs, files, texts, doubts, errors."""
