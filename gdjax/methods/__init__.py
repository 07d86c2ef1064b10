"""Methods: one file a family, each reading like its paper."""
