"""The commands of `miractl`, a module for each group; imported when one is called."""
