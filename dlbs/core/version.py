"""The version of DLBS, logged by every experiment."""

__all__ = ["__version__"]

__version__ = "0.1.0"
