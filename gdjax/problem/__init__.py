"""A loss and a penalty as functions of one vector."""
