"""This machine: its hardware, the resources that experiments request, and its load during runs."""
