"""The parts that come with core, registered under `core/`."""
