"""The interface of milabench's package benchmate, for packs that were written for it: events of a loop, and monitors around it.

It lies last on the path of environments that dlbs makes, so that the package itself wins where it is installed.
"""
