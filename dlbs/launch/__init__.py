"""From a resolved experiment to what runs: launcher scripts, containers, images."""
