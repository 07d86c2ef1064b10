"""What a loss or a result means: gradients checked, curvature, critical points, uncertainty, explanations."""
