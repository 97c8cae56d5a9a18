"""Training pipelines on spectra, and storing what comes of them."""
