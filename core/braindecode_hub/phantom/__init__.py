"""Forward models with known sources: what the brain signals of the default datasets are made of."""
