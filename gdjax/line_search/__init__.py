"""Line searches: one file each, scalar state machines fed one (value, slope) a trip."""
