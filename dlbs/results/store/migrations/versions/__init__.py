"""Schema migrations, one file each."""
