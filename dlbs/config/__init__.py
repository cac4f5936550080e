"""Configurations: files and -P/-V/-E become declarations, settings, variables and extensions."""
