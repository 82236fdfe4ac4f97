"""Files that the compiler puts into bundles as they are."""
