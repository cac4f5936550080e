"""The interface of milabench's package benchmate, for packs written for it: loop events and monitors.

It is last on the path of environments that dlbs creates, so that an installed benchmate wins.
"""
