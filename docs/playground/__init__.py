"""The page docs/playground.html: what it shows, how it is recorded, how it looks."""
