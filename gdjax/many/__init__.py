"""Many descents at once: a descent in each lane of one loop, refilled as they end."""
