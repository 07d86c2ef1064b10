"""Training on batches of data: the compiled epoch, data from elsewhere, what it watches and returns."""
