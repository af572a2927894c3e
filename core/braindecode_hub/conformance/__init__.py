"""The conformance suite: what every component and pipeline must keep to. `braindecode_hub.testing` is its face."""
