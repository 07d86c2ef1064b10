"""Other libraries' calls, made by gdjax: `gdjax.compat.jaxopt`. It translates, and solves nothing itself."""
