"""`python -m dlbs`."""

from __future__ import annotations

from dlbs.experimenter import main

main()
