"""Many descents at once. A lane is one place in a batch; when its descent ends, the next problem takes it."""
