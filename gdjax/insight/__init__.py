"""What a loss or a result means: gradient checks, curvature, critical points, uncertainty, explanations."""
