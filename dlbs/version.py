"""The version of DLBS, which every experiment logs."""

__all__ = ["__version__"]

__version__ = "0.1.0"
